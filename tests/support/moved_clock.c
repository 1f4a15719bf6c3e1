/* A library to preload: the wall clock is moved by MOVED_BY seconds, for a program and all that it starts.

   The monotonic clock stays, so every wait takes as long as it says. The times of files move along, but only of those
   that were written since MOVED_SINCE: what Python has compiled before stays valid. Nobody can set the ctime of a file,
   so it tells the ones from the others. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long read_number(const char *name) {
    const char *text = getenv(name);
    return text ? atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += read_number("MOVED_BY");
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    *now = (struct timeval){precise.tv_sec, precise.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *also) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (also)
        *also = now.tv_sec;
    return now.tv_sec;
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
    int (*next)(sem_t *, const struct timespec *) = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec real = {deadline->tv_sec - read_number("MOVED_BY"), deadline->tv_nsec};
    return next(semaphore, &real);
}

static int move(int failed, struct stat *found) {
    if (!failed && found->st_ctim.tv_sec >= read_number("MOVED_SINCE")) {
        long long by = read_number("MOVED_BY");
        found->st_atim.tv_sec += by;
        found->st_mtim.tv_sec += by;
        found->st_ctim.tv_sec += by;
    }
    return failed;
}

int fstatat(int folder, const char *restrict path, struct stat *restrict found, int flags) {
    return move(syscall(SYS_newfstatat, folder, path, found, flags), found);
}

int stat(const char *restrict path, struct stat *restrict found) { return fstatat(AT_FDCWD, path, found, 0); }

int lstat(const char *restrict path, struct stat *restrict found) {
    return fstatat(AT_FDCWD, path, found, AT_SYMLINK_NOFOLLOW);
}

int fstat(int file, struct stat *found) { return move(syscall(SYS_fstat, file, found), found); }

/* The same functions under the names that programs with large files use. */
int fstatat64(int, const char *restrict, struct stat64 *restrict, int) __attribute__((alias("fstatat")));
int stat64(const char *restrict, struct stat64 *restrict) __attribute__((alias("stat")));
int lstat64(const char *restrict, struct stat64 *restrict) __attribute__((alias("lstat")));
int fstat64(int, struct stat64 *) __attribute__((alias("fstat")));

int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
    int failed = syscall(SYS_statx, folder, path, flags, mask | STATX_CTIME, found);
    if (!failed && found->stx_ctime.tv_sec >= read_number("MOVED_SINCE")) {
        long long by = read_number("MOVED_BY");
        found->stx_atime.tv_sec += by;
        found->stx_mtime.tv_sec += by;
        found->stx_ctime.tv_sec += by;
        found->stx_btime.tv_sec += by;
    }
    return failed;
}

static int set_times(int folder, const char *path, const struct timespec times[2], int flags) {
    struct timespec real[2];
    for (int i = 0; times && i < 2; i++) {
        real[i] = times[i];
        if (real[i].tv_nsec != UTIME_NOW && real[i].tv_nsec != UTIME_OMIT)
            real[i].tv_sec -= read_number("MOVED_BY");
    }
    return syscall(SYS_utimensat, folder, path, times ? real : NULL, flags);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    return set_times(folder, path, times, flags);
}

int futimens(int file, const struct timespec times[2]) { return set_times(file, NULL, times, 0); }

/* A library to preload behind libfaketime. Version 0.9.10 moves the monotonic clock too, but not the waits with a
   deadline on it: a wait of 0.2 s would last as long as the clock was moved by. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

/* The deadline of a moved clock, on the kernel's. */
static struct timespec move_back(clockid_t clock, const struct timespec *deadline) {
    struct timespec moved, real;
    clock_gettime(clock, &moved);
    syscall(SYS_clock_gettime, clock, &real);
    long long ns = (deadline->tv_sec - moved.tv_sec + real.tv_sec) * SECOND + deadline->tv_nsec - moved.tv_nsec + real.tv_nsec;
    if (ns < 0)
        ns = 0;
    return (struct timespec){ns / SECOND, ns % SECOND};
}

int sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *deadline) {
    int (*next)(sem_t *, clockid_t, const struct timespec *) = dlsym(RTLD_NEXT, "sem_clockwait");
    struct timespec real = move_back(clock, deadline);
    return next(semaphore, clock, &real);
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *deadline) {
    int (*next)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *) =
        dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    struct timespec real = move_back(clock, deadline);
    return next(condition, mutex, clock, &real);
}

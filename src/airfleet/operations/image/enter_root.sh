#!/bin/sh
# Runs the folder KIT in the root file system ROOT. `unshare` gave this shell its own mounts and processes, so that
# nothing stays behind when it ends, however it ends.
set -eu
mkdir -p "$ROOT/proc" "$ROOT/dev" "$ROOT/run" "$ROOT/tmp"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/run"
mkdir -p "$ROOT/run/airfleet-image"
# Its archives are files of the cache, which other images and hosts get too.
mount --bind -o ro "$KIT" "$ROOT/run/airfleet-image"
for program in prepare.sh clean.sh; do
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    chroot "$ROOT" sh "/run/airfleet-image/$program" </dev/null
done

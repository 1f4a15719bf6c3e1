#!/bin/sh
# Run a command as another user, in a mount namespace in which that user reaches some folders below closed ones, such as
# a Python below /root. Beside them, the closed folders are empty there. Called by root through `unshare --mount`.
#   another_user.sh USER GROUP STAGE CLOSED:… OPEN:… COMMAND…    an empty folder STAGE; folders are separated by colons
set -eu
user=$1 group=$2 stage=$3 closed=$4 open=$5
shift 5
mount -t tmpfs -o mode=700 tmpfs "$stage"
set -f
IFS=:
number=0
for folder in $open; do
    mkdir "$stage/$number"
    mount --bind "$folder" "$stage/$number"
    number=$((number + 1))
done
for folder in $closed; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
number=0
for folder in $open; do
    mkdir -p "$folder"
    mount --move "$stage/$number" "$folder"
    number=$((number + 1))
done
umount "$stage"
unset IFS
exec unshare --setgid "$group" --setuid "$user" -- "$@"

#!/bin/sh
# Unpacks an archive of Airflow's packages from standard input. Their folder is there only once it is whole.
set -e
umask 022
new=$OPT/.new-$DIGEST
rm -rf "$new"
mkdir -p "$new"
tar -xz --no-same-owner -C "$new"
test -e "$new/compiled" || "$new/bin/$PYTHON" -m compileall -q "$new/lib" || true
rm -rf "${OPT:?}/$DIGEST"
mv "$new" "$OPT/$DIGEST"

#!/bin/sh
# Unpacks an archive of Airflow's packages from standard input. Their folder exists only when it is complete.
set -e
umask 022
new=$OPT/.new-$DIGEST
# Folders that a killed step left are deleted too, because a host makes one step at a time.
rm -rf "${OPT:?}"/.new-* "${OPT:?}"/.gone-*
mkdir -p "$new"
# Root would keep the modes of the archive, in which every user may write to the lock of its installer.
tar -xz --no-same-owner --no-same-permissions -C "$new"
test -e "$new/compiled" || "$new/bin/$PYTHON" -m compileall -q "$new/lib" || true
# After a loss of power, a folder of this name must not hold files without their content.
sync -f "$new"
rm -rf "${OPT:?}/$DIGEST"
mv "$new" "$OPT/$DIGEST"

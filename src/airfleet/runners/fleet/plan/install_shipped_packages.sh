#!/bin/sh
# Makes a repository of the packages from standard input, and installs only from it.
set -e
apt_here() {
  apt -o "Dir::Etc::sourcelist=$SHIPPED/sources.list" -o Dir::Etc::sourceparts=- \
    -o "Dir::State::lists=$SHIPPED/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
    -o Acquire::Languages=none "$@"
}
rm -rf "$SHIPPED"; mkdir -p "$SHIPPED/lists/partial"; cd "$SHIPPED"
tar -x --no-same-owner
for deb in *.deb; do
  dpkg-deb -f "$deb"
  echo "Filename: ./$deb"; echo "Size: $(stat -c %s "$deb")"; echo "SHA256: $(sha256sum < "$deb" | cut -c 1-64)"; echo
done > Packages
echo "deb [trusted=yes] file:$SHIPPED ./" > sources.list
dpkg --configure -a
apt_here update
# shellcheck disable=SC2086 # PACKAGES is a list of names.
apt_here install --no-install-recommends $PACKAGES
cd /; rm -rf "$SHIPPED"

#!/bin/sh
# Packages in apt's cache need no mirror. Otherwise `apt update` notices once that a mirror is down.
set -e
dpkg --configure -a
# shellcheck disable=SC2086 # PACKAGES is a list of names.
apt install --no-install-recommends --no-download $PACKAGES 2>/dev/null || {
  apt update -o APT::Update::Error-Mode=any && apt install --no-install-recommends $PACKAGES; }

#!/bin/sh
# What is in apt's cache needs no mirror. A mirror that is down is noticed once, and not for each package.
set -e
dpkg --configure -a
# shellcheck disable=SC2086 # PACKAGES is a list of names.
apt install --no-install-recommends --no-download $PACKAGES 2>/dev/null || {
  apt update -o APT::Update::Error-Mode=any && apt install --no-install-recommends $PACKAGES; }

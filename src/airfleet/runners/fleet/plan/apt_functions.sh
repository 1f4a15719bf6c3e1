#!/bin/sh
# The functions of every program that installs packages of the system.
apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
    -o Acquire::Retries=1 -o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 \
    -o Dpkg::Options::=--force-confold "$@"
}

#!/bin/sh
# Defines `call`, which runs a command of etcdctl at any of ENDPOINTS, and `log_in`, which finds out as whom: nobody until
# there are logins, and then root by whichever of ROOTS is valid now. It fails where no majority of etcd answers.
export ETCDCTL_API=3
call() {
  timeout 15 etcdctl --endpoints="$ENDPOINTS" --cacert="$AUTHORITIES" --dial-timeout=3s --command-timeout=5s "$@"
}
log_in() {
  unset ETCDCTL_USER
  call user list >/dev/null 2>&1 && return 0
  for password in $ROOTS; do
    export ETCDCTL_USER="root:$password"
    call user list >/dev/null 2>&1 && return 0
  done
  return 1
}

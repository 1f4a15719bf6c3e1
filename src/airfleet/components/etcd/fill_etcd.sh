#!/bin/sh
# Logins, each with its password of now, and the settings of Patroni. May be run at any time.
for _ in $(seq 60); do log_in && break; sleep 1; done
log_in
set_password() {
  if call user get "$1" >/dev/null 2>&1; then
    printf '%s\n' "$2" | call user passwd "$1" --interactive=false >/dev/null
  else
    printf '%s\n' "$2" | call user add "$1" --interactive=false >/dev/null
  fi
}
call role get "$LOGIN" >/dev/null 2>&1 || call role add "$LOGIN" >/dev/null
call role grant-permission "$LOGIN" --prefix=true readwrite "$PREFIX" >/dev/null
printf '%s\n' "$LOGINS" | while read -r name password; do
  set_password "$name" "$password"
  call user grant-role "$name" "$LOGIN" >/dev/null
done
call user list | while read -r name; do
  case "$name" in
    "$LOGIN"|"$LOGIN".*) printf '%s\n' "$LOGINS" | grep -q "^$name " || call user delete "$name" >/dev/null;;
  esac
done
call put "$KEY" "$SETTINGS" >/dev/null
call role get root >/dev/null 2>&1 || call role add root >/dev/null
set_password root "$ROOT"
[ -z "${ETCDCTL_USER:-}" ] || export ETCDCTL_USER="root:$ROOT"
call user grant-role root root >/dev/null
[ -n "${ETCDCTL_USER:-}" ] || call auth enable >/dev/null

#!/bin/bash
# Fails unless HAProxy of this host answers at once. With an argument, the answer has to have that status.
exec 3<>"/dev/tcp/127.0.0.1/$PORT" || exit 1
printf 'GET / HTTP/1.0\r\n\r\n' >&3
read -r -t 0.7 _ code _ <&3 && [ "$code" = "${1:-$code}" ]

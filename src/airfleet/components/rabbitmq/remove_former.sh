#!/bin/bash
# Removes what earlier versions left at the broker. Queues of tasks and their messages remain.
users=$(tool list_users --no-table-headers | cut -f1)
for user in $LOGINS; do
  if printf "%s\n" "$users" | grep -qx "$user"; then tool delete_user "$user"; fi
done
# Celery of earlier versions declared an exchange for each queue, and more for remote control, events and delays.
# RabbitMQ's tools remove one by Erlang alone. Those whose names begin with "amq." are RabbitMQ's own.
tool eval "[rabbit_exchange:delete(Name, false, <<\"airfleet\">>)
 || X <- rabbit_exchange:list(<<\"$VHOST\">>), Name <- [element(2, X)],
    re:run(element(4, Name), \"^(amq[.].*)?\$\") =:= nomatch],
ok."
tool list_queues -p "$VHOST" --no-table-headers name | { grep -E "$QUEUES" || true; } |
  while read -r queue; do tool delete_queue -p "$VHOST" --if-empty "$queue" || true; done

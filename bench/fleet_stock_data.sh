#!/bin/sh
# Give stock Airflow a PostgreSQL server with PostgreSQL's own settings, and a virtual host on the fleet's RabbitMQ.
set -eu
# shellcheck source=/dev/null
. /opt/stock/environment
version=$(ls /usr/lib/postgresql)
pg_createcluster "$version" stock --port "$STOCK_PORT" -- --auth-local=peer
echo "listen_addresses = '*'" >> "/etc/postgresql/$version/stock/postgresql.conf"
echo "host all all 0.0.0.0/0 scram-sha-256" >> "/etc/postgresql/$version/stock/pg_hba.conf"
pg_ctlcluster "$version" stock start
runuser -u postgres -- psql -q -p "$STOCK_PORT" -h /var/run/postgresql <<SQL
CREATE ROLE stock LOGIN PASSWORD '$STOCK_DATABASE_PASSWORD';
CREATE DATABASE airflow OWNER stock;
SQL
# The tools need the node's own environment: its name, and the home with its cookie.
for name in HOME RABBITMQ_NODENAME RABBITMQ_USE_LONGNAME; do
    set -- "$@" "$(sed -n "s/^Environment=\"\($name=.*\)\"\$/\1/p" /etc/systemd/system/airfleet-rabbitmq.service)"
done
# Debian's own command of that name looks for another cookie.
set -- "$@" /usr/lib/rabbitmq/bin/rabbitmqctl -q
tool() { runuser -u rabbitmq -- env "$@"; }
# The fleet's RabbitMQ speaks TLS alone, and stock Airflow does without it. The listener is gone when RabbitMQ restarts.
tool "$@" eval 'rabbit_networking:start_tcp_listener(5672, 10).' > /dev/null
# The password is shown to this bed's own processes, which nobody else logs in to and which live for minutes.
tool "$@" add_vhost stock
tool "$@" add_user stock "$STOCK_BROKER_PASSWORD"
tool "$@" set_permissions -p stock stock '.*' '.*' '.*'

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
unit=/etc/systemd/system/airfleet-rabbitmq.service
eval "$(sed -n 's/^Environment=//p' "$unit" | sed 's/^"\(.*\)"$/\1/; s/=\(.*\)/='"'"'\1'"'"'/; s/^/export /')"
# Debian's own command of that name looks for another cookie. The passwords of a bed that lives for minutes and that nobody else logs in to.
runuser -u rabbitmq -- /usr/lib/rabbitmq/bin/rabbitmqctl -q add_vhost stock
runuser -u rabbitmq -- /usr/lib/rabbitmq/bin/rabbitmqctl -q add_user stock "$STOCK_BROKER_PASSWORD"
runuser -u rabbitmq -- /usr/lib/rabbitmq/bin/rabbitmqctl -q set_permissions -p stock stock '.*' '.*' '.*'

#!/bin/sh
# Give a fleet's host stock Airflow: the fleet's packages without airfleet's provider, and a unit for each component named.
set -eu
home=/opt/stock
id stock >/dev/null 2>&1 || useradd --system --home-dir "$home" --shell /usr/sbin/nologin stock
if [ ! -d "$home/venv" ]; then
    python=$(sed -n 's/^ExecStart=\([^ ]*\/bin\)\/.*/\1/p' /etc/systemd/system/airfleet-*.service | grep /opt/ | head -n 1)
    cp -a "$(readlink -f "$python/..")" "$home/venv"
    rm -rf "$home"/venv/lib/python3*/site-packages/airfleet_provider*
fi
chown -R stock:stock "$home/airflow" "$home/dags"
chgrp stock "$home/environment"
chmod 0640 "$home/environment"
for unit in "$@"; do
    case "$unit" in
        worker) words="celery worker" ;;
        *) words=$unit ;;
    esac
    cat > "/etc/systemd/system/stock-$unit.service" <<UNIT
[Service]
User=stock
WorkingDirectory=$home
EnvironmentFile=$home/environment
Environment=PATH=$home/venv/bin:/usr/bin:/bin
ExecStart=$home/venv/bin/python -m airflow $words
KillMode=mixed
TimeoutStopSec=30
LimitNOFILE=65536
UNIT
done
systemctl daemon-reload

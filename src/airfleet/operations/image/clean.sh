#!/bin/sh
# Removes what a machine must not share with its copies: keys, names, logins, histories and caches.
# The keys of a machine are made at its first boot.
set -eu
umask 022
cat > /etc/systemd/system/ssh-host-keys.service <<'UNIT'
[Unit]
Description=Make the SSH keys of this machine at its first boot
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
Before=ssh.service

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
UNIT
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -sfn ../ssh-host-keys.service /etc/systemd/system/multi-user.target.wants/ssh-host-keys.service
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /var/lib/systemd/random-seed /etc/hostname
# Packages of the system make these when they are installed: a certificate that nobody trusts, with its key, the secret
# by which RabbitMQ's tools know its nodes, and the key of systemd's credentials.
rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem
find -L /etc/ssl/certs -maxdepth 1 -type l -delete
rm -f /var/lib/rabbitmq/.erlang.cookie /var/lib/systemd/credential.secret
# An empty file, and not a missing one: systemd then makes an id, and knows that this is the first boot.
: > /etc/machine-id
rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys /root/.bash_history /home/*/.bash_history
rm -rf /var/lib/cloud/* /var/log/cloud-init*.log /var/log/journal/* /var/log/apt/* /var/log/dpkg.log
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/airfleet-packages
rm -f /var/cache/apt/archives/*.deb
# Passwords that a person set: cloud-init gives the logins.
passwd -q -l root 2>/dev/null || true
sync

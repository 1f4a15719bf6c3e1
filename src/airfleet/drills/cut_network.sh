#!/bin/sh
# The loopback and SSH stay open, so that a person can repair the host.
nft -f - <<RULES
table inet airfleet_drill {
    chain in {
        type filter hook input priority -300; policy drop;
        iifname "lo" accept
        tcp dport $SSH_PORT accept
    }
    chain out {
        type filter hook output priority -300; policy drop;
        oifname "lo" accept
        tcp sport $SSH_PORT accept
    }
}
RULES

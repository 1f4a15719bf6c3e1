#!/bin/sh
# The loopback and SSH stay open, so that a person can repair the host.
nft -f - <<RULES
table inet airfleet_drill {
    chain in {
        type filter hook input priority -300; policy drop;
        iifname "lo" accept
        # With IPv6, hosts find each other by these messages; with IPv4 by ARP, which no rule here sees.
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        tcp dport $SSH_PORT accept
    }
    chain out {
        type filter hook output priority -300; policy drop;
        oifname "lo" accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        tcp sport $SSH_PORT accept
    }
}
RULES

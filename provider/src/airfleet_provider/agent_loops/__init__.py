"""What the loops of the agents process have in common: their threads and connections, the lease, the HTTP server."""

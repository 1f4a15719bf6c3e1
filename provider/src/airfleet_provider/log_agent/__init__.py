"""The log agent: it reads the logs of a host as they grow, and puts each line into the index once."""

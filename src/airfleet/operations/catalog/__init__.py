"""The catalogue: every Dag, task and asset of a platform, as JSON and as web pages that need no server."""

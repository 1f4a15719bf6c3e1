"""The release agent: parses releases, makes them live, watches and removes them; follows a folder in development."""

"""What happened on a platform in a span of time, from all that it writes down, on one time line."""

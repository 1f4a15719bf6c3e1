"""A run as a trace: the parts of each try in their order, the critical path, and the longest wait on it."""

"""Stand-in for the official Kubernetes plugin: the same inputs, diffs and outputs over the real API server."""

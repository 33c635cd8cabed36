"""Pull credentials: what the kubelet reads, where they come from, and the one form in which they are stored."""

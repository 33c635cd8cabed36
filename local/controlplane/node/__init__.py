"""The real node: a kubelet with containerd, and the registries that it pulls from."""

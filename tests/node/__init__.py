"""Everything that only a kubelet can prove: what Pods pull before, during and after what the product does."""

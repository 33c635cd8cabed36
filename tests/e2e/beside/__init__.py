"""Tests with stacks or objects of their own, beside whatever else runs on the control plane of `make up`."""

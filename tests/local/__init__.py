"""Tests of the local control plane on its real programs."""

"""Serves the pack `cluster-pull-secret` to the Pulumi engine; it does not return."""

from policies.cluster_pull_secret import PACK
from policies.serve import serve

serve(PACK)

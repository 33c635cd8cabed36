"""Serves the pack `cluster-pull-secret` to the Pulumi engine; it does not return."""

from pullsecrets.packs.cluster_pull_secret import PACK
from pullsecrets.packs.serve import serve

serve(PACK)

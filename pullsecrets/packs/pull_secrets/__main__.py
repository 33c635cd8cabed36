"""Serves the pack `pull-secrets` to the Pulumi engine; it does not return."""

from pullsecrets.packs.pull_secrets import PACK
from pullsecrets.packs.serve import serve

serve(PACK)

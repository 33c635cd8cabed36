"""Serves the pack `workload-pull-secrets` to the Pulumi engine; it does not return."""

from pullsecrets.packs.serve import serve
from pullsecrets.packs.workload_pull_secrets import PACK

serve(PACK)

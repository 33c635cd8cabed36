"""Serves the pack `workload-pull-secrets` to the Pulumi engine; it does not return."""

from policies.serve import serve
from policies.workload_pull_secrets import PACK

serve(PACK)

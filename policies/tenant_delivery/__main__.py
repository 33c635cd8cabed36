"""Serves the pack `tenant-delivery` to the Pulumi engine; it does not return."""

from policies.serve import serve
from policies.tenant_delivery import PACK

serve(PACK)

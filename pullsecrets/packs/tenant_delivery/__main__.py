"""Serves the pack `tenant-delivery` to the Pulumi engine; it does not return."""

from pullsecrets.packs.serve import serve
from pullsecrets.packs.tenant_delivery import PACK

serve(PACK)

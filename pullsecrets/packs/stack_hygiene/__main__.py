"""Serves the pack `stack-hygiene` to the Pulumi engine; it does not return."""

from pullsecrets.packs.serve import serve
from pullsecrets.packs.stack_hygiene import PACK

serve(PACK)

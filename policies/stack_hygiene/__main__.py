"""Serves the pack `stack-hygiene` to the Pulumi engine; it does not return."""

from policies.serve import serve
from policies.stack_hygiene import PACK

serve(PACK)

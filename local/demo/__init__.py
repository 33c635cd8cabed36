"""`make demo`: the main job on the real control plane, from nothing to 24 services rolled out and a rotation proved."""

from local.demo.credentials import generated_credential, seed_generated
from local.demo.steps import StepFailedError, existing
from local.demo.story import Demo

__all__ = ["Demo", "StepFailedError", "existing", "generated_credential", "seed_generated"]

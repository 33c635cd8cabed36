"""Options that put the policy packs on a `pulumi` run, with a stack's own registries as their settings."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pullsecrets.config import StackConfig
from pullsecrets.packs import package
from pullsecrets.packs.crossguard import Pack
from pullsecrets.packs.pull_secrets import PACK
from pullsecrets.policy.lint.settings import settings_of

ALL = (PACK,)


def pack_options(config: StackConfig, folder: Path, packs: Sequence[Pack] = ALL) -> list[str]:
    """Return the options of packs, writing the packs and settings that they name.

    Args:
        config: the stack's configuration.
        folder: where they are written. The packs run in the Python environment that this runs in.
        packs: which packs; by default the one that holds every policy.
    """
    settings = settings_of(config)
    options: list[str] = []
    for pack in packs:
        file = folder / f"{pack.name}.json"
        known = {policy.name for policy in pack.policies}
        own = {name: values for name, values in settings.items() if name in known}
        file.write_text(json.dumps(own, indent=2), encoding="utf-8")
        source = package.build(pack, folder, virtualenv=sys.prefix)
        options += ["--policy-pack", str(source), "--policy-pack-config", str(file)]
    return options

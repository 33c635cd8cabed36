"""Places services that no wave names in a last wave of a stack file, leaving the rest of the file as it is."""

import io
from collections.abc import Sequence

from local.workspace import PROJECT, stack_yaml


def place(text: str, services: Sequence[str], wave: str) -> str:
    """Return a stack file's text with one more wave at the end of its rollout.

    Args:
        text: of the stack file; its comments and its order stay.
        services: that the wave names.
        wave: its name.
    """
    yaml = stack_yaml()
    document = yaml.load(text)
    rollout = document["config"].setdefault(f"{PROJECT}:rollout", {})
    rollout.setdefault("waves", []).append({"name": wave, "services": list(services)})
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()

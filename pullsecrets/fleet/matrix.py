"""The stacks of a project as a pipeline takes them: a job for each, in the order of the waves."""

import io
import json
from collections.abc import Sequence
from itertools import chain, groupby
from typing import Any

from ruamel.yaml import YAML

from pullsecrets.fleet.stacks import FleetStack

GITLAB_JOBS = ".ci/gitlab-stacks.yml"
"""What the jobs of GitLab's child pipeline extend."""


def waves(stacks: Sequence[FleetStack]) -> list[list[str]]:
    """Return the names of the stacks wave by wave, first wave first.

    A stack whose file does not parse stands in the last one: its job fails and names the cause, the others run.
    """
    found = [
        [stack.name for stack in wave] for _, wave in groupby(stacks, lambda stack: (bool(stack.problem), stack.wave))
    ]
    if len(found) > 1 and stacks[-1].problem:
        found[-2:] = [[*found[-2], *found[-1]]]
    return found


def github(stacks: Sequence[FleetStack]) -> str:
    """Return the lines that a workflow's step appends to `GITHUB_OUTPUT`: `stacks`, and `waves` of them, as JSON."""
    by_wave = waves(stacks)
    return f"stacks={json.dumps([*chain(*by_wave)])}\nwaves={json.dumps(by_wave)}\n"


def gitlab(stacks: Sequence[FleetStack]) -> str:
    """Return the child pipeline that GitLab runs as an artifact: per stack a preview, an update in its wave, a check.

    Each update is a job of its own name, by which a preview finds the copy of the state. From the second wave on
    they wait for a person.
    """
    by_wave = waves(stacks)
    jobs: dict[str, Any] = {}
    for number, wave in enumerate(by_wave, 1):
        for name in wave:
            jobs[f"preview-{name}"] = {"extends": ".preview", "variables": {"STACK": name}}
            update = ".up-released" if number > 1 else ".up"
            jobs[f"up-{name}"] = {"extends": update, "stage": f"wave-{number}", "variables": {"STACK": name}}
            jobs[f"drift-{name}"] = {"extends": ".drift", "variables": {"STACK": name}}
    stages = ["preview", *(f"wave-{number}" for number in range(1, len(by_wave) + 1)), "drift"]
    stream = io.StringIO()
    yaml: Any = YAML()
    yaml.dump({"include": [{"local": GITLAB_JOBS}], "stages": stages, **jobs}, stream)
    return stream.getvalue()

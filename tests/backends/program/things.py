"""A thing is a line in the file `made`; it is made once the file `gate` is there."""

import os
import time
from pathlib import Path
from typing import Any

from pulumi import ResourceOptions
from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class _Provider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        folder = Path(os.environ["THINGS"])
        with (folder / "made").open("a") as made:
            made.write(f"{props['name']}\n")
        while not (folder / "gate").exists():
            time.sleep(0.05)
        return CreateResult(props["name"], props)


class Thing(Resource):
    """A thing with a name."""

    def __init__(self, name: str, opts: ResourceOptions) -> None:
        """Declare it."""
        super().__init__(_Provider(), name, {"name": name}, opts)

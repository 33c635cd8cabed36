"""What a fleet command has done so far, in a file: `--resume` goes on from there."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pullsecrets.errors import BadInputError
from pullsecrets.files import write_whole
from pullsecrets.fleet.run import GOOD, Result
from pullsecrets.fleet.stacks import FleetStack


@dataclass(frozen=True)
class Journal:
    """The stacks that one command is through with. It holds digests and no credential."""

    file: Path
    command: str
    """With what it is about, so that another rotation does not take this one's for done."""

    def done(self, stacks: Iterable[FleetStack]) -> dict[str, str]:
        """Return by stack what an earlier run of this command said of it, where its file is as it was then.

        Raises:
            BadInputError: when the file is another command's, or cannot be read.
        """
        try:
            found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            # No run was cut short.
            return {}
        except (OSError, ValueError) as error:
            raise BadInputError(f"--resume: {self.file} cannot be read ({type(error).__name__}); remove it") from None
        if found.get("command") != self.command:
            raise BadInputError(
                f"--resume: {self.file} is of `fleet {found.get('command')}`; this is `fleet {self.command}`: leave "
                "--resume out, or name the other's file with --state"
            )
        known: Mapping[str, Mapping[str, str]] = found.get("done", {})
        return {
            stack.name: known[stack.name]["summary"]
            for stack in stacks
            if stack.name in known and known[stack.name]["file"] == _digest(stack)
        }

    def write(self, stacks: Iterable[FleetStack], results: Mapping[str, Result]) -> None:
        """Note what is done; where that is everything there is nothing to resume, and the file goes.

        Raises:
            BadInputError: when the file cannot be written.
        """
        done = {
            stack.name: {"file": _digest(stack), "summary": results[stack.name].summary}
            for stack in stacks
            if results[stack.name].state in GOOD
        }
        if len(done) == len(results):
            self.file.unlink(missing_ok=True)
            return
        text = json.dumps({"command": self.command, "done": done}, indent=2, sort_keys=True) + "\n"
        try:
            write_whole(self.file, text)
        except OSError as error:
            raise BadInputError(f"--state {self.file}: {error.strerror}; name a file that can be written") from None


def _digest(stack: FleetStack) -> str:
    """Tell a stack's file, and the release that it is read by, from any other."""
    return hashlib.sha256(stack.path.read_bytes() + version("pull-secrets").encode()).hexdigest()[:16]

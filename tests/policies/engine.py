"""Runs the real `pulumi` on state files and programs with policy packs, and reads what it says."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pullsecrets.packs.catalog import PACKS
from pullsecrets.packs.pull_secrets import PACK
from tests.sample_registries import BY_POLICY

REPOSITORY = Path(__file__).resolve().parents[2]
POLICIES = REPOSITORY / "pullsecrets" / "packs"
DEADLINE = 240


@dataclass(frozen=True)
class Violation:
    """A policy event of the engine."""

    pack: str
    policy: str
    level: str
    urn: str
    message: str

    @property
    def stack(self) -> str:
        """The stack of the resource, by which fixtures that are judged together are told apart."""
        return self.urn.removeprefix("urn:pulumi:").partition("::")[0]


@dataclass(frozen=True)
class Outcome:
    """What a run of the engine ended with."""

    code: int
    output: str
    violations: tuple[Violation, ...]
    remediated: tuple[str, ...]
    """URNs of resources that a policy put right."""

    def of(self, policy: str, stack: str | None = None) -> list[Violation]:
        """Violations of one policy, in one stack if named."""
        return [found for found in self.violations if found.policy == policy and stack in {None, found.stack}]


@dataclass(frozen=True)
class Engine:
    """The engine with its plugins, and a folder to keep its state in."""

    environment: Mapping[str, str]
    folder: Path

    def analyze(self, state: Path, packs: Iterable[Path], config: Sequence[Path] = ()) -> Outcome:
        """Judge a state file by packs, without program and login; without settings by the sample's registries."""
        options = self.pack_options(list(packs), config)
        return self.run("policy", "analyze", "--json", "--file", str(state), *options, cwd=self.folder)

    def pack_options(self, packs: Sequence[Path], config: Sequence[Path] = ()) -> list[str]:
        """Return the options that put packs on a run, with their settings; the sample's registries by default."""
        files = config or [self._sample(pack) for pack in packs]
        options = [part for pack in packs for part in ("--policy-pack", str(pack))]
        return options + [part for file in files for part in ("--policy-pack-config", str(file))]

    def _sample(self, pack: Path) -> Path:
        """Write the sample's registries as settings of a pack."""
        known = {
            policy.name for one in (PACK, *PACKS) if one.name == pack.name.replace("_", "-") for policy in one.policies
        }
        file = self.folder / f"{pack.name}.settings.json"
        file.write_text(json.dumps({name: given for name, given in BY_POLICY.items() if name in known}))
        return file

    def run(self, *arguments: str, cwd: Path) -> Outcome:
        """Run `pulumi` to its end; a run that takes too long fails the test."""
        done = subprocess.run(
            ["pulumi", "--non-interactive", *arguments],
            cwd=cwd,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        output = done.stdout + done.stderr
        events = list(_events(done.stdout))
        return Outcome(
            code=done.returncode,
            output=output,
            violations=tuple(_violation(event["policyEvent"]) for event in events if "policyEvent" in event),
            remediated=tuple(
                event["policyRemediationEvent"]["resourceUrn"] for event in events if "policyRemediationEvent" in event
            ),
        )


def environment(home: Path, shims: Path, backend: Path) -> dict[str, str]:
    """Variables for a `pulumi` that shares nothing with the caller's own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "VAULT_", "KUBE"))}
    return {
        **kept,
        "PATH": os.pathsep.join([str(shims), str(REPOSITORY / ".venv" / "bin"), kept.get("PATH", os.defpath)]),
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": f"file://{backend}",
        "PULUMI_CONFIG_PASSPHRASE": "tests of policies",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_PYTHON_CMD": str(REPOSITORY / ".venv" / "bin" / "python"),
    }


def _events(output: str) -> Iterable[dict[str, Any]]:
    for line in output.splitlines():
        if line.startswith("{"):
            # The engine ends its last event without a line break, so an error may follow on the same line.
            event, _ = json.JSONDecoder().raw_decode(line)
            yield event


def _violation(event: Mapping[str, Any]) -> Violation:
    return Violation(
        pack=event["policyPackName"],
        policy=event["policyName"],
        level=event["enforcementLevel"],
        urn=event.get("resourceUrn", ""),
        message=event["message"],
    )

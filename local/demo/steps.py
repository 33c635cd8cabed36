"""What all parts of the demo share: steps with their titles and times, and commands run as the people of the story."""

import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console

from local.controlplane import ERRORS, ControlPlane
from local.controlplane.api import KubernetesApi, RequestRefused
from local.controlplane.node.node import RealNode
from local.controlplane.rbac import OPERATORS, VERIFIERS
from local.controlplane.waiting import NotYet
from local.demo.summary import summary
from local.workspace import PulumiError, Workspace
from pullsecrets.config import StackConfig, load_stack
from pullsecrets.errors import PullSecretsError
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.kubeconfig import Reach

Value = TypeVar("Value")
STACK = "dev"
COMMAND_SECONDS = 600


class UnexpectedError(Exception):
    """A step did not end as it should; the message says what was found and what was expected."""


class StepFailedError(Exception):
    """A step of the demo failed; the message names the step and the cause."""


class Steps:
    """The demo's steps on one control plane."""

    def __init__(self, plane: ControlPlane, console: Console, node: RealNode | None = None) -> None:
        """Run on this control plane, its Pods on this node or on simulated ones, and print to this console."""
        self._beside = ThreadPoolExecutor()
        self.node = node
        self.plane = plane
        self.console = console
        self.admin = plane.admin()
        self.workspace = Workspace(plane.layout.state / "workspace", plane.env())
        self.workspace.use_stack(STACK)
        self.commands: list[str] = []
        """What a person would have typed so far, without options."""
        on_call = plane.kubeconfig_as("operator")
        self.on_call = {**self.workspace.environment, "KUBECONFIG": str(on_call)}
        """Environment of the on-call: the operator's kubeconfig, and a token that reads no credential."""
        self.verifier = KubernetesClient(Reach(plane.kubeconfig_for("verifier", [OPERATORS, VERIFIERS])))
        """The cluster as anyone who may start test Pods."""
        auditor = plane.kubeconfig_as("auditor")
        self.auditor = {**self.workspace.environment, "KUBECONFIG": str(auditor)}

    @property
    def config(self) -> StackConfig:
        """The stack as its file in the workspace says now."""
        return load_stack(STACK, self.workspace.root)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a step's title before it and its time after it.

        Raises:
            StepFailedError: the step failed in a way that is foreseen; it names the step.
        """
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left")
        started = time.monotonic()
        try:
            yield
        except (*ERRORS, PulumiError, PullSecretsError, UnexpectedError, subprocess.SubprocessError) as error:
            raise StepFailedError(f"step {title!r} failed: {error}") from error
        self.console.print(f"[dim]{time.monotonic() - started:.1f} s[/]")

    def beside(self, call: Callable[[], Value]) -> Future[Value]:
        """Begin what belongs to a later step, whose result that step waits for."""
        return self._beside.submit(call)

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text)

    def pulumi(self, *words: str) -> None:
        """Run `pulumi` on the stack: with its own live display in a terminal, else with a summary and a log file.

        Raises:
            PulumiError: it failed; the summary has been printed.
        """
        self.commands.append(f"pulumi {words[0]}")
        stacked = (*words, "--stack", STACK)
        if self.console.is_terminal:
            self.workspace.pulumi(*stacked, stream=True)
            return
        done = self.workspace.pulumi(*stacked, check=False)
        log = self.plane.layout.logs / f"pulumi-{words[0]}.log"
        log.write_text(done.stdout, encoding="utf-8")
        self.console.print(summary(done.stdout), markup=False)
        self.say(f"all that it printed: {log}")
        if done.returncode:
            raise PulumiError(f"pulumi {words[0]}", done.returncode, f"see {log}")

    def run(
        self,
        environment: Mapping[str, str],
        *words: str,
        stdin: str | None = None,
        expected: Collection[int] = (0,),
        captured: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a `pull-secrets` command on the stack.

        Args:
            environment: whose variables: `on_call`, `auditor` or the workspace's own.
            words: of the command; no credentials.
            stdin: what it reads.
            expected: exit codes that are no failure.
            captured: whether its output goes to the caller and not to ours.

        Raises:
            UnexpectedError: it ended with another exit code.
        """
        self.commands.append(f"pull-secrets {words[0]}")
        stacked = (*words, "--stack", STACK)
        done = run_command(self.workspace, environment, *stacked, stdin=stdin, captured=captured)
        if done.returncode not in expected:
            allowed = " or ".join(str(code) for code in expected)
            cause = f":\n{done.stderr}" if captured else ""
            raise UnexpectedError(
                f"`pull-secrets {' '.join(words)}` exited with {done.returncode} and not with {allowed}{cause}"
            )
        return done


def run_command(
    workspace: Workspace,
    environment: Mapping[str, str],
    *words: str,
    stdin: str | None = None,
    captured: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a `pull-secrets` command on the workspace's stack files, its output going to ours unless it is captured."""
    sys.stdout.flush()
    return subprocess.run(
        [sys.executable, "-m", "pullsecrets", *words, "--directory", str(workspace.root)],
        env=dict(environment),
        input=stdin,
        capture_output=captured,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


def existing(api: KubernetesApi, path: str) -> dict[str, Any]:
    """Return an object; for `until`, which waits while it is not there."""
    try:
        return api.call("GET", path)
    except RequestRefused as error:
        raise NotYet(str(error)) from error

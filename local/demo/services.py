"""The second part of the demo: the sample repository's services, migrated, running in waves."""

import json
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local import sample_gitops
from local.demo import workloads
from local.demo.placing import place
from local.demo.pulling import images_by_namespace, push_images
from local.demo.steps import STACK, Steps, UnexpectedError
from local.demo.workloads import Applied, Pods
from pullsecrets.text import counted

REGISTRY = sample_gitops.SECRET
ENVIRONMENT = "dev"
LAST_WAVE = "last"
_SHOWN_PODS = 5
_SHOWN_DIFF = "apps/auth/base/"


@dataclass(frozen=True)
class RolledOut:
    """What came of the services."""

    violations: int
    """What the validation found after the migration."""
    commits: int
    images: Mapping[str, Collection[str]]
    """What the workloads of each namespace pull."""


@dataclass(frozen=True)
class _Migrated:
    """What came of the migration.

    Attributes:
        files: what `gitops migrate` says.
        diff: of one service.
        check: what `gitops check` says.
        objects: that the overlays build now.
    """

    files: Mapping[str, Any]
    diff: str
    check: Mapping[str, Any]
    objects: Sequence[Mapping[str, Any]]


class Services:
    """The services of the sample repository, from audit to the last wave."""

    def __init__(self, steps: Steps) -> None:
        """Use the state folder for the repository; the one of an earlier demo is replaced."""
        self.steps = steps
        self.repository = steps.plane.layout.state / "gitops"
        matrices = steps.config.tenants.matrices
        self.namespaces = [tenant.name for tenant in steps.config.resolve_tenants() if REGISTRY in tenant.registries]
        self._pushed: set[str] = set()
        self.services = [
            service for matrix in matrices if ENVIRONMENT in matrix.environments for service in matrix.services
        ]

    def forget(self) -> None:
        """Take away workers without the reference, should an earlier demo have ended before it got there."""
        names = [(service, f"{service}-indexer") for service in sample_gitops.UNBOUND]
        names.append((sample_gitops.WITHOUT_REFERENCE, f"{sample_gitops.WITHOUT_REFERENCE}-worker"))
        workers = [(f"{service}-{ENVIRONMENT}", name) for service, name in names]
        workloads.delete_deployments(self.steps.admin, workers)

    def run(self) -> RolledOut:
        """Run every step."""
        steps = self.steps
        with steps.step(f"A GitOps repository of {len(self.services)} services: pull-secrets gitops discover"):
            self._write_repository()
            self._gitops("discover")
        with steps.step("Its workloads in the cluster, as they are"):
            if steps.node is None:
                steps.say("[bold yellow]nodes are simulated: no kubelet runs, nothing is pulled[/]")
                steps.say("a Pod that names no pull Secret goes to ImagePullBackOff; one that names any gets Ready")
            self._apply(self._build())
            # While Pods come up, or a kubelet waits before it tries again, there is time for what needs no cluster.
            migrating = steps.beside(self._migrate)
            trouble = self._settle()
        if trouble.failing:
            with steps.step("pull-secrets doctor names the cause"):
                steps.run(steps.on_call, "doctor", expected=(1,))
        with steps.step("pull-secrets gitops migrate: one component in place of each list; then gitops check"):
            migrated = migrating.result()
            self._show_migrated(migrated)
        with steps.step("The migrated workloads in the cluster"):
            self._apply(migrated.objects)
            self._require_running(self._settle())
        with steps.step(f"pull-secrets rollout {REGISTRY}, with the committed stack file"):
            self._refused()
        with steps.step(f"pull-secrets rollout {REGISTRY}, canary first"):
            steps.run(steps.on_call, "rollout", REGISTRY, "--yes", "--timeout", "300")
        return RolledOut(
            int(migrated.check["mandatory"]),
            int(self._git("rev-list", "--count", "HEAD")),
            images_by_namespace(migrated.objects),
        )

    def _write_repository(self) -> None:
        if self.repository.exists():
            shutil.rmtree(self.repository)
        sample_gitops.build(self.repository, unbound=True)
        sample_gitops.commit(self.repository)
        self.steps.say(f"in {self.repository}")

    def _gitops(self, command: str, *options: str, captured: bool = False) -> str:
        environment = self.steps.workspace.environment
        words = ("gitops", command, str(self.repository), *options)
        return self.steps.run(environment, *words, captured=captured).stdout

    def _build(self) -> list[dict[str, Any]]:
        return workloads.build(self.repository, self.services, ENVIRONMENT)

    def _apply(self, objects: Sequence[Mapping[str, Any]]) -> None:
        if self.steps.node is not None:
            self.steps.say(f"{counted(push_images(self.steps.node, objects, self._pushed), 'image')} pushed")
        self._say_applied(workloads.apply(self.steps.admin, objects))

    def _settle(self) -> Pods:
        pods = workloads.until_settled(self.steps.admin, self.namespaces)
        colour = "red" if pods.failing else "green"
        self.steps.say(f"[bold {colour}]{len(pods.failing)} of {pods.total} Pods cannot pull[/]")
        for pod, reason in list(pods.failing.items())[:_SHOWN_PODS]:
            self.steps.say(f"  {pod}: {reason}")
        return pods

    def _say_applied(self, applied: Applied) -> None:
        self.steps.say(f"applied as Argo CD would: {_counted(applied.applied)}")
        self.steps.say(f"[dim]left out, which nothing here would use: {_counted(applied.left_out)}[/]")

    def _require_running(self, pods: Pods) -> None:
        if pods.failing:
            raise UnexpectedError(
                f"{len(pods.failing)} Pods cannot pull after the migration: {', '.join(pods.failing)}"
            )

    def _migrate(self) -> _Migrated:
        files: dict[str, Any] = json.loads(self._gitops("migrate", "--yes", "--json", captured=True))
        diff = self._git("diff", "--unified=1", "--", _SHOWN_DIFF)
        sample_gitops.commit(self.repository)
        check: dict[str, Any] = json.loads(self._gitops("check", "--json", captured=True))
        return _Migrated(files, diff, check, self._build())

    def _show_migrated(self, migrated: _Migrated) -> None:
        found, check = migrated.files, migrated.check
        self.steps.say(
            f"{counted(len(found['files']), 'file')}: {counted(found['referenced'], 'reference')} added, "
            f"{counted(found['removed'], 'entry', 'entries')} removed, {len(found['kept'])} kept; "
            "every overlay built before and after, nothing but pull Secrets differs"
        )
        self.steps.console.print(migrated.diff, style="dim", markup=False)
        self.steps.say(f"committed; all of it: git -C {self.repository} show")
        judged = f"{check['objects']} objects in {check['files']} overlays"
        self.steps.say(f"{check['mandatory']} workloads without the reference among {judged}")

    def _git(self, *words: str) -> str:
        done = subprocess.run(["git", "-C", str(self.repository), *words], capture_output=True, text=True, check=True)
        return done.stdout.rstrip()

    def _refused(self) -> None:
        """Show that services in no wave are refused and named; then place them, in the workspace's copy alone."""
        steps, unplaced = self.steps, self.steps.config.unplaced_services
        done = steps.run(steps.on_call, "rollout", REGISTRY, "--yes", expected=(2,), captured=True)
        missing = [service for service in unplaced if service not in done.stderr]
        if missing or not unplaced:
            raise UnexpectedError(f"the refusal does not name {', '.join(missing) or 'any service'}:\n{done.stderr}")
        steps.console.print(done.stderr.strip(), markup=False)
        steps.say(f"exit code {done.returncode}: nothing was changed")
        file = steps.workspace.stack_file(STACK)
        file.write_text(place(file.read_text(encoding="utf-8"), unplaced, LAST_WAVE), encoding="utf-8")
        steps.say(f"the demo places {', '.join(unplaced)} in a wave {LAST_WAVE!r} of its own copy of the stack file")


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(counted(count, kind) for kind, count in kinds.items())

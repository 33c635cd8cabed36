"""Runs a rollout: wave after wave through its gates, resumed where it stopped, and a wave rolled back."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec

from pullsecrets.config import Registry, StackConfig
from pullsecrets.delivery import verify
from pullsecrets.delivery.verify import Trial
from pullsecrets.errors import BadInputError
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.objects import annotations_of, namespace_path
from pullsecrets.kube.waiting import look_until
from pullsecrets.rollout import gates
from pullsecrets.rollout.argocd import ArgoCd
from pullsecrets.rollout.gates import Reason, SmokeCheck
from pullsecrets.rollout.plan import Wave
from pullsecrets.workloads.restart import RestartResult, Workload, list_workloads, restart, take_back

MARK_PREFIX = "rollout.apps.platform/"
"""Annotation on a namespace, followed by the registry: the content with which its wave was proved good."""

POLL_SECONDS = 1.0
_P = ParamSpec("_P")
WHOLE = "100%"

DELIVERY, PULL, UPDATE, PODS = "Secret proved", "test pull", "workloads", "Pods"
EVENTS, SMOKE = "image-pull events", "smoke check"


@dataclass(frozen=True)
class Settings:
    """How a rollout goes about its waves."""

    timeout: float
    """Seconds for each gate of a wave."""
    smoke: SmokeCheck | None = None
    argocd: ArgoCd | None = None
    """Sync Applications of the namespaces' names instead of restarting workloads."""
    pull: Trial | None = None
    """Image that a test Pod pulls in each namespace before workloads are restarted."""


@dataclass
class WaveReport:
    """What became of one wave."""

    wave: str
    namespaces: tuple[str, ...]
    state: str = "waiting"
    """`waiting`, `done`, `done before`, `failed`, `rolled back` or `not rolled back`."""
    passed: list[str] = field(default_factory=list[str])
    """Gates, in the order in which they were passed."""
    failed_gate: str | None = None
    problems: Mapping[str, Reason] = field(default_factory=dict[str, Reason])
    """What the failed gate found: thing and reason."""
    restarted: int = 0
    seconds: float = 0.0


OnChange = Callable[[WaveReport], None]
MayGoOn = Callable[[Wave], bool]


class Rollout:
    """The rollout of one registry's content over the waves of an environment."""

    def __init__(
        self, config: StackConfig, cluster: KubernetesClient, registry: Registry, digest: str, settings: Settings
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            cluster: the cluster, as an operator.
            registry: whose Secret the services pull with.
            digest: of the seeded content, which each namespace must hold.
        """
        self._config = config
        self._cluster = cluster
        self._registry = registry
        self._digest = digest
        self._settings = settings

    @property
    def reason(self) -> str:
        """What workloads are restarted for and namespaces are marked with: the same in each run of one rollout."""
        return f"{self._registry.name}@{self._digest}/rollout"

    def run(
        self, waves: Sequence[Wave], on_change: OnChange | None = None, may_go_on: MayGoOn | None = None
    ) -> list[WaveReport]:
        """Take each wave through its gates, and stop at the first gate that fails.

        Waves that an earlier run proved good are passed over.

        Args:
            on_change: called with each gate that was passed, and of each wave that ends.
            may_go_on: asked before each wave after the first one that was rolled out; False stops there.
        """
        reports = [WaveReport(wave.name, wave.namespaces) for wave in waves]
        done = self._marked()
        begun = False
        for wave, report in zip(waves, reports, strict=True):
            if done.issuperset(wave.namespaces):
                report.state = "done before"
            elif begun and may_go_on and not may_go_on(wave):
                break
            else:
                begun = True
                self._roll(wave, report, on_change)
            if on_change:
                on_change(report)
            if report.state == "failed":
                break
        return reports

    def unfinished(self, waves: Sequence[Wave]) -> Wave | None:
        """Return the first wave that was begun and not proved good; None when there is none."""
        done = self._marked()
        for wave in waves:
            if not done.issuperset(wave.namespaces):
                return wave if self._is_begun(wave) else None
        return None

    def abort(self, wave: Wave) -> WaveReport:
        """Roll a wave back: its workloads to what they were before it, and its namespaces to not proved.

        The Secret and the ServiceAccounts' entries stay: they take nothing from a workload that does without them.

        Raises:
            BadInputError: when the rollout goes through Argo CD and has synced none of the wave's Applications.
        """
        report = WaveReport(wave.name, wave.namespaces)
        began = time.monotonic()
        if self._settings.argocd:
            if not self._is_begun(wave):
                raise BadInputError(
                    f"--abort: wave {wave.name}: this rollout has synced none of its Applications, or has rolled them "
                    "back already; to go back further, revert the commits in their repositories"
                )
            problems = self._settings.argocd.roll_back(wave.namespaces, self.reason, self._settings.timeout)
        else:
            result = take_back(self._cluster, self._begun(wave), self.reason, self._settings.timeout)
            report.restarted, problems = len(result.restarted), _problems(result)
        report.problems = _reasons(problems)
        self._mark(wave, None)
        report.state = "not rolled back" if report.problems else "rolled back"
        report.failed_gate = UPDATE if report.problems else None
        report.seconds = time.monotonic() - began
        return report

    def _roll(self, wave: Wave, report: WaveReport, on_change: OnChange | None) -> None:
        # Events bear times of the cluster; this machine's clock may be ahead of them.
        began, (since, _) = time.monotonic(), self._cluster.clock()
        cluster, registry, namespaces = self._cluster, self._registry, wave.namespaces
        steps: tuple[tuple[str, Callable[[], Mapping[str, str]]], ...] = (
            (
                DELIVERY,
                lambda: self._settled(gates.undelivered, self._config, cluster, registry, self._digest, namespaces),
            ),
            (PULL, lambda: self._pull(wave)),
            (UPDATE, lambda: self._update(wave, report)),
            (PODS, lambda: self._settled(gates.failing_pods, cluster, registry, namespaces)),
            (EVENTS, lambda: gates.pull_events(cluster, namespaces, since)),
            (SMOKE, lambda: self._settled(gates.failed_smoke_checks, cluster, self._settings.smoke, wave.targets)),
        )
        for gate, problems_of in steps:
            if (gate == SMOKE and not self._settings.smoke) or (gate == PULL and not self._settings.pull):
                continue
            report.problems = _reasons(problems_of())
            report.seconds = time.monotonic() - began
            if report.problems:
                report.state, report.failed_gate = "failed", gate
                return
            report.passed.append(gate)
            if on_change:
                on_change(report)
        self._mark(wave, self.reason)
        report.state = "done"

    def _pull(self, wave: Wave) -> Mapping[str, str]:
        trial = self._settings.pull
        return verify.failures(verify.run(self._cluster, trial, wave.namespaces)) if trial else {}

    def _update(self, wave: Wave, report: WaveReport) -> Mapping[str, str]:
        if self._settings.argocd:
            return self._settings.argocd.sync(wave.namespaces, self.reason, self._settings.timeout)
        workloads = list_workloads(self._cluster, self._registry, wave.namespaces)
        result = restart(self._cluster, workloads, self.reason, WHOLE, self._settings.timeout)
        report.restarted = len(result.restarted) + len(result.already)
        return _problems(result)

    def _settled(
        self, problems_of: Callable[_P, Mapping[str, str]], *args: _P.args, **rest: _P.kwargs
    ) -> Mapping[str, str]:
        """Look until there is no problem any more or the time is over; return what there is then."""
        return look_until(
            lambda: problems_of(*args, **rest), lambda found: not found, self._settings.timeout, POLL_SECONDS
        )

    def _is_begun(self, wave: Wave) -> bool:
        if self._settings.argocd:
            return bool(self._settings.argocd.begun(wave.namespaces, self.reason))
        return bool(self._begun(wave))

    def _begun(self, wave: Wave) -> list[Workload]:
        workloads = list_workloads(self._cluster, self._registry, wave.namespaces)
        return [item for item in workloads if item.restarted_for == self.reason]

    @property
    def _annotation(self) -> str:
        return f"{MARK_PREFIX}{self._registry.name}"

    def _marked(self) -> frozenset[str]:
        """Namespaces that were proved good with this content."""
        items = self._cluster.items("/api/v1/namespaces", metadata_only=True)
        marked = (item for item in items if annotations_of(item).get(self._annotation) == self.reason)
        return frozenset(item["metadata"]["name"] for item in marked)

    def _mark(self, wave: Wave, value: str | None) -> None:
        for namespace in wave.namespaces:
            change = {"metadata": {"annotations": {self._annotation: value}}}
            self._cluster.merge_patch(namespace_path(namespace), change)


def require_unfinished(rollout: Rollout, waves: Sequence[Wave], *, named: bool) -> Wave:
    """Return the wave to abort.

    Args:
        rollout: of which.
        named: whether the caller named them.

    Raises:
        BadInputError: when several were named, or no wave was begun and left unfinished.
    """
    if named and len(waves) != 1:
        raise BadInputError("--abort: found several waves; allowed: one --wave")
    found = waves[0] if named else rollout.unfinished(waves)
    if found is None:
        raise BadInputError(
            "--abort: no wave is unfinished; name the one to roll back with --wave, as `pull-secrets rollout` lists it"
        )
    return found


def _problems(result: RestartResult) -> dict[str, str]:
    remaining = dict.fromkeys(result.remaining, "not started or not yet ready, because another one failed")
    return {**remaining, **result.held, **result.failed}


def _reasons(problems: Mapping[str, str]) -> dict[str, Reason]:
    return {thing: Reason(text) for thing, text in problems.items()}

"""The plan of a rotation: what the caller chose, checked before anything is written, and what it would touch."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pullsecrets.credential import sealed, vault_entry
from pullsecrets.credential.document import DockerConfig
from pullsecrets.credential.vault_entry import SeedPlan
from pullsecrets.delivery import prechecks, verify
from pullsecrets.delivery.deliver import DEFAULT_TIMEOUT
from pullsecrets.delivery.prechecks import Outlook, Target
from pullsecrets.delivery.proof import selected_namespaces
from pullsecrets.durations import parse_duration
from pullsecrets.errors import BadInputError
from pullsecrets.kube.eso import Installation
from pullsecrets.workloads import evict, restart
from pullsecrets.workloads.evict import LackingPods
from pullsecrets.workloads.restart import Workload


@dataclass(frozen=True)
class Choices:
    """What the caller chose for a rotation."""

    only: frozenset[str] | None = None
    """Namespaces to prove it in; None for all."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds to wait for the proof."""
    wave_size: str = restart.DEFAULT_WAVE
    wave_timeout: float = 600
    """Seconds for each wave of restarts, and for evictions."""
    restart: bool = False
    recreate: bool | None = None
    """Whether Pods without the reference are evicted; None to ask."""
    take_back: bool = False
    """Whether the content before is written again where the new one arrived nowhere, or hurts where it arrived."""
    all_or_nothing: bool = False
    """Whether it is taken back as well where it arrived in some namespaces and not in others."""
    by_content: bool = False
    image: str | None = None
    """Image that a test Pod pulls in each namespace before the rotation is done."""
    grace: str | None = None
    """How long replaced versions stay before they are destroyed; None to destroy none."""

    def __post_init__(self) -> None:
        """Refuse choices that contradict each other.

        Raises:
            BadInputError: naming the options.
        """
        restart.wave_length(self.wave_size, 1)
        if self.all_or_nothing and not self.take_back:
            raise BadInputError("--all-or-nothing: found without --rollback-on-failure; allowed: with it")
        if self.grace is None:
            return
        if self.take_back:
            raise BadInputError("--destroy-previous: not with --rollback-on-failure, which may need what it destroys")
        if self.only:
            raise BadInputError("--destroy-previous: not with --only: other namespaces may still need what it destroys")
        self.grace_period(self.grace)

    @staticmethod
    def grace_period(text: str) -> timedelta:
        """Return a grace period such as `24h`.

        Raises:
            BadInputError: when it is no duration.
        """
        try:
            return parse_duration(text)
        except ValueError as error:
            raise BadInputError(f"--grace: found {text!r}; allowed: {error}") from None


@dataclass(frozen=True)
class Plan:
    """A rotation that was checked and not begun."""

    target: Target
    choices: Choices
    installation: Installation
    digest: str
    """Of the content that is to arrive."""
    outlook: Outlook = field(default_factory=lambda: Outlook({}, ()))
    credential: DockerConfig | None = None
    seed: SeedPlan | None = None
    """What is written to Vault; None for a sealed credential, which `pulumi up` brings into the cluster."""

    def write(self) -> int:
        """Write what Vault lacks, with check-and-set; return the version to deliver, 0 for a sealed credential.

        Raises:
            ConflictError: when another client wrote since the plan was made.
        """
        target = self.target
        if self.seed is None or self.credential is None or target.vault is None:
            return 0
        if self.seed.unchanged:
            return self.seed.version
        return vault_entry.write(target.vault, target.config, target.registry, self.credential, self.seed)

    def foresee(self) -> "Foreseen":
        """Return what the rotation would touch beside Vault."""
        target = self.target
        namespaces = sorted(selected_namespaces(target.cluster, target.registry, self.choices.only))
        return Foreseen(
            namespaces,
            evict.find_lacking(target.cluster, target.config, target.registry, namespaces),
            restart.list_workloads(target.cluster, target.registry, namespaces) if self.choices.restart else [],
        )


@dataclass(frozen=True)
class Foreseen:
    """What a rotation would touch beside Vault."""

    namespaces: list[str]
    lacking: LackingPods
    workloads: list[Workload]
    """Those that it would restart."""


def plan(
    target: Target, choices: Choices, credential: DockerConfig | None = None, expires_at: datetime | None = None
) -> Plan:
    """Check, before anything is written, that the rotation may do what was chosen and that it will arrive.

    Args:
        credential: the new one; None for what is sealed.
        expires_at: when the registry stops accepting it, where that is known.

    Raises:
        BadInputError: naming the option, or the namespaces, that stand in the way.
    """
    installation = prechecks.prepare(target, choices.only)
    if choices.take_back:
        prechecks.require_way_back(target)
    if choices.by_content:
        prechecks.require_readable(target)
    if choices.image is not None:
        verify.registry_of_image(target.config, choices.image, target.registry.name)
        prechecks.require_verifier(target)
    if target.vault is None or credential is None:
        digest = sealed.declared_digest(target.config, target.cluster, target.registry)
        return Plan(target, choices, installation, digest)
    seed = vault_entry.plan(target.vault, target.config, target.registry, credential, expires_at)
    outlook = prechecks.foresee(target, choices.only, choices.timeout)
    return Plan(target, choices, installation, seed.new_digest, outlook, credential, seed)

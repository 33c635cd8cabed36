"""ESO's queue is too long: a round over all ExternalSecrets takes a large part of the refresh interval.

New namespaces wait behind that round. By default ESO works on one ExternalSecret at a time and sends the API server 50
requests a second; each refresh costs about 3 writes there, and 4 requests to Vault unless the token cache is on.
Measured with everything on one machine of 2 cores (`make bench`): 10 refreshes a second by default, 50 to 64 with the
flags that are proposed, from 25 to 1,000 namespaces; 1,503 in 86 s with `--concurrent 5` and the default rate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import again_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.durations import parse_duration
from pullsecrets.kube.eso import GROUP, Installation

NAME = "refresh-queue-too-long"

WRITES = 3
"""API writes of one refresh."""
LOGIN_REQUESTS = 4
"""Requests to Vault of one refresh: login, read, look-up, revocation."""
REQUEST_SECONDS = 0.02
"""Taken for one request of one worker; 7 of them are what a refresh waits for. Measured without a network: 14 ms."""
LONGEST_WAIT = timedelta(minutes=1)
"""A new namespace should not wait longer for its Secret."""
CACHE = "experimental-enable-vault-token-cache"
RECOMMENDED = {"concurrent": "50", "client-qps": "500", "client-burst": "1000", CACHE: "true"}
_DEFAULTS = {"concurrent": "1", "client-qps": "50", "client-burst": "100"}


@dataclass(frozen=True)
class Capacity:
    """How fast a controller with some flags gets through its queue."""

    flags: Mapping[str, str]

    @property
    def per_second(self) -> float:
        """Refreshes per second: what the API rate permits, or what the workers can wait for, whichever is less."""
        by_rate = float(self._flag("client-qps")) / WRITES
        by_workers = int(self._flag("concurrent")) / (REQUEST_SECONDS * (WRITES + self._vault_requests))
        return max(min(by_rate, by_workers), 0.001)

    def round(self, count: int) -> timedelta:
        """Return how long a round over so many ExternalSecrets takes."""
        # A burst passes before the rate limits, which shortens small rounds only.
        return timedelta(seconds=round(count / self.per_second))

    @property
    def _vault_requests(self) -> int:
        # With the cache a refresh still looks its token up before it reads (counted in Vault's audit log, ESO 0.20.4).
        return 2 if self.flags.get(CACHE) == "true" else LOGIN_REQUESTS

    def _flag(self, name: str) -> str:
        return self.flags.get(name, _DEFAULTS[name])


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding for the controller whose queue is too long for the shortest refresh interval."""
    installation = next((item for item in snapshot.installations if item.fans_out), None)
    if installation is None:
        return
    count = _count(snapshot)
    refresh = min(parse_duration(registry.refresh) for registry in snapshot.config.registries)
    severity = judge(installation.flags, count, refresh)
    if severity:
        yield _finding(snapshot, installation, count, refresh, severity)


def judge(flags: Mapping[str, str], count: int, refresh: timedelta) -> Severity | None:
    """Return how bad a queue is: nothing below half the interval and a minute's wait."""
    taken = Capacity(flags).round(count)
    if taken >= refresh:
        return Severity.TENANT
    return Severity.WARNING if taken > min(refresh / 2, LONGEST_WAIT) else None


def _count(snapshot: Snapshot) -> int:
    """Count every ExternalSecret of the cluster, since all wait in one queue, without reading them."""
    first = snapshot.cluster.get(f"{GROUP}/externalsecrets", {"limit": "1"})
    return len(first["items"]) + int(first["metadata"].get("remainingItemCount") or 0)


def _finding(
    snapshot: Snapshot, installation: Installation, count: int, refresh: timedelta, severity: Severity
) -> Finding:
    now, then = Capacity(installation.flags), Capacity({**installation.flags, **RECOMMENDED})
    flags = " ".join(f"--{name}" if value == "true" else f"--{name} {value}" for name, value in RECOMMENDED.items())
    told = ", ".join(f"--{name} {installation.flags.get(name, default)}" for name, default in _DEFAULTS.items())
    cached = "with" if installation.flags.get(CACHE) == "true" else "without"
    return Finding(
        check=NAME,
        severity=severity,
        symptom=f"A new namespace waits up to {_told(now.round(count))} for its Secret, a rotation takes as long.",
        cause=(
            f"A round over {count} ExternalSecrets takes about {_told(now.round(count))} of {_told(refresh)} between "
            f"two refreshes: {now.per_second:.0f} a second."
        ),
        evidence=(
            f"Deployment {installation.namespace}/{installation.name}: {told}, {cached} the Vault token cache",
            f"GET {GROUP}/externalsecrets: {count}",
        ),
        fix=(
            f"# flags of deployment {installation.namespace}/{installation.name} (the chart's extraArgs): {flags}",
            f"# with them up to {then.per_second:.0f} a second, a round in {_told(then.round(count))} at best",
            again_command(snapshot),
        ),
        prevention="Set these flags when ESO is installed; beyond some thousand namespaces use delivery: fanout.",
    )


def _told(duration: timedelta) -> str:
    return (
        f"{duration.total_seconds():.0f} s"
        if duration < timedelta(minutes=3)
        else f"{duration.total_seconds() / 60:.0f} min"
    )


CHECK = Check(NAME, "ESO's queue is short for the refresh interval", find)

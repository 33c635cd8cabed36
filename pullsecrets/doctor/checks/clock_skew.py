"""The clocks of the API server, of Vault and of this machine differ.

ServiceAccount tokens and certificates are valid between two times: a Vault whose clock is behind refuses tokens as not
valid yet, one that is ahead refuses them as expired. Read from the `Date` header of both servers' answers.
"""

from collections.abc import Iterator
from datetime import timedelta
from itertools import combinations

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import STORE_UNUSABLE, again_command
from pullsecrets.doctor.snapshot import Snapshot

NAME = "clock-skew"
TOLERATED = timedelta(seconds=30)
"""Differences that only show in logs."""
REFUSED = timedelta(seconds=150)
"""What Vault allows at most (clock_skew_leeway of JWT logins)."""
SERVERS = ("the API server", "Vault")


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield one finding when two clocks differ."""
    server, here = snapshot.once("clock/cluster", snapshot.cluster.clock)
    offsets = {SERVERS[0]: server - here}
    if snapshot.config.has_vault and snapshot.vault_server.date:
        offsets[SERVERS[1]] = snapshot.vault_server.date - snapshot.vault_server.asked_at
    yield from judge(snapshot, offsets)


def judge(snapshot: Snapshot, offsets: dict[str, timedelta]) -> Iterator[Finding]:
    """Yield one finding when the servers differ from each other, or from here.

    Args:
        snapshot: for the commands to recommend.
        offsets: by server, how much its clock is ahead of this machine's.
    """
    clocks = {**offsets, "this machine": timedelta(0)}
    pairs = {(one, other): abs(clocks[one] - clocks[other]) for one, other in combinations(clocks, 2)}
    (one, other), apart = max(pairs.items(), key=lambda item: item[1])
    if apart <= TOLERATED:
        return
    between_servers = pairs.get(SERVERS, timedelta(0))
    yield Finding(
        check=NAME,
        severity=Severity.CLUSTER if between_servers > REFUSED else Severity.WARNING,
        symptom="Logins to Vault fail now and then with `token is expired` or `not valid yet`.",
        cause=f"The clocks of {one} and {other} are {apart.total_seconds():.0f} s apart.",
        evidence=tuple(
            f"{name}: {ahead.total_seconds():+.0f} s against this machine" for name, ahead in offsets.items()
        ),
        fix=("chronyc tracking   # on the nodes of the control plane, on Vault's, and here", again_command(snapshot)),
        prevention="Synchronise every machine with the same NTP servers, and alert on the offset.",
    )


CHECK = Check(
    NAME,
    "API server, Vault and this machine agree on the time",
    find,
    explains=("vault-login-refused", *STORE_UNUSABLE),
)

"""The stack lets an admission policy append the pull Secret to Pods, and the policy is not bound in the cluster.

With `binding: admission` no ServiceAccount lists the Secret, so each Pod that is made without the policy cannot pull.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding, Severity
from pullsecrets.doctor.platform import up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import entry_is_appended
from pullsecrets.manifests import guard

NAME = "pod-admission-missing"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the registries whose policy is not bound, where the stack binds by admission."""
    if snapshot.config.binding != guard.ADMISSION:
        return
    for registry in snapshot.config.registries:
        if entry_is_appended(snapshot, registry):
            continue
        policy = guard.PodAdmissionSpec.of(snapshot.config, registry).name
        yield Finding(
            check=NAME,
            severity=Severity.CLUSTER,
            symptom=f"New Pods cannot pull from {', '.join(registry.hosts)} in any namespace.",
            cause=f"With binding: admission a policy appends {registry.name} to Pods, and it is not bound.",
            evidence=(f"{guard.MUTATING_BINDINGS}: no {policy}",),
            fix=(
                f"kubectl get mutatingadmissionpolicies,mutatingadmissionpolicybindings {policy}",
                up_command(snapshot),
            ),
            prevention="Let only the stack's deployers change admission policies.",
            registry=registry.name,
        )


CHECK = Check(NAME, "The policy that appends pull Secrets to Pods is bound", find, explains=("pod-admitted-too-early",))

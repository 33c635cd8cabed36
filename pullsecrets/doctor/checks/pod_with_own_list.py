"""A workload brings its own `imagePullSecrets`, and the registry's pull Secret is not among them.

Admission copies the ServiceAccount's list only into Pods that have none, so the entry on the ServiceAccount never
reaches these. Found in the Pod template of the workload; a Pod that nothing makes again is found by names that its
ServiceAccount does not list.
"""

from collections.abc import Iterator

from pullsecrets.doctor.model import Check, Finding
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import (
    client,
    entry_is_appended,
    has_own_list,
    pod_evidence,
    pods_in,
    rows,
    severity_of,
    workload,
)
from pullsecrets.text import listed
from pullsecrets.workloads.pods import STATIC_POD, PodPull

NAME = "pod-with-own-list"


def find(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the Pods whose own list lacks the Secret, those of one namespace and registry in one finding."""
    for row in rows(snapshot):
        registry = snapshot.config.registry(row.registry)
        if entry_is_appended(snapshot, registry):
            continue
        pods = [
            pod
            for pod in pods_in(snapshot, row.namespace)
            if pod.lacks(registry) and has_own_list(snapshot, pod, registry)
        ]
        if not pods:
            continue
        yield Finding(
            check=NAME,
            severity=severity_of([pod for pod in pods if pod.fails_on(registry.hosts)]),
            symptom=f"Pods in {row.namespace} do not refer to Secret {row.registry}.",
            cause="Their workload brings imagePullSecrets of its own, and admission leaves such a list as it is.",
            evidence=(
                *pod_evidence(pods),
                *(f"Pod {pod.name}: imagePullSecrets {listed(pod.references)}" for pod in pods[:3]),
            ),
            fix=tuple(dict.fromkeys(_append(pod, row.registry) for pod in pods)),
            prevention="Drop imagePullSecrets from workloads (`pull-secrets gitops migrate`), or bind by admission.",
            namespace=row.namespace,
            registry=row.registry,
        )


def _append(pod: PodPull, registry: str) -> str:
    target = workload(pod)
    if pod.owner and pod.owner.startswith("Node/"):
        return f"# Pod {pod.namespace}/{pod.name}: {STATIC_POD}"
    if target is None or target.startswith("job/"):
        return f"# Pod {pod.namespace}/{pod.name}: add {registry} to its manifest's list"
    # In a Pod template the list merges by name, unlike in a ServiceAccount.
    patch = f'{{"spec":{{"template":{{"spec":{{"imagePullSecrets":[{{"name":"{registry}"}}]}}}}}}}}'
    return f"{client(target)} -n {pod.namespace} patch {target} -p '{patch}'"


CHECK = Check(NAME, "Workloads with a list of their own name the pull Secret", find)

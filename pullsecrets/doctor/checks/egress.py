"""What NetworkPolicies let ESO reach."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pullsecrets.config import StackConfig
from pullsecrets.doctor.egress_rules import Destination, denied, described, isolating
from pullsecrets.doctor.model import Finding, Remedy, Severity, check
from pullsecrets.doctor.platform import PROJECT, STORE_UNUSABLE, again_command, elsewhere, store_evidence, up_command
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.kube import marks
from pullsecrets.kube.client import APPLY, FIELD_MANAGER, KubernetesClient
from pullsecrets.kube.eso import CONTROLLER
from pullsecrets.kube.objects import labels_of
from pullsecrets.kube.podspec import DEPLOYMENT, template_of
from pullsecrets.manifests import builders
from pullsecrets.text import listed


@check("ESO's Pods can reach Vault, DNS and the API server", explains=STORE_UNUSABLE)
def egress_denied(snapshot: Snapshot) -> Iterator[Finding]:
    """NetworkPolicies in ESO's namespace keep its Pods from Vault, DNS or the API server.

    A default-deny policy without the stack's own egress policy makes ESO's logins hang until they time out. All policies
    that select ESO's Pods are judged together, as Kubernetes does: what none of them permits is denied. On OpenShift DNS
    is needed on 5353 as well, because OVN-Kubernetes judges egress after the Service address was replaced by the Pod's.
    Red Hat's operator owns all policies there; our rules stand in its ExternalSecretsConfig.

    The safe fix restores the policy as the stack file declares it, and shows what it permits now and will permit. There is
    none while a live store names another Vault than the stack file: what is declared would then cut ESO off.
    """
    config = snapshot.config
    where = f"/apis/networking.k8s.io/v1/namespaces/{config.eso.namespace}/networkpolicies"
    policies = list(snapshot.cluster.items(where))
    labels = _pod_labels(snapshot)
    missing = denied(policies, labels, destinations(config))
    if not missing:
        return
    judging = listed(str(item["metadata"]["name"]) for item in isolating(policies, labels))
    own = config.eso.network_policy
    live = next((item for item in policies if item["metadata"]["name"] == own), None)
    restores = config.declares_egress and config.eso.distribution == "helm" and not any(elsewhere(snapshot))
    yield Finding(
        severity=Severity.CLUSTER,
        symptom="ESO's logins to Vault hang until they time out; the store stops being Ready.",
        cause=(
            f"NetworkPolicies in {config.eso.namespace} deny ESO's Pods {', '.join(map(str, missing))}"
            + (f"; the stack's policy {own!r} is not there." if config.declares_egress and not live else ".")
        ),
        evidence=(
            f"policies that select ESO's Pods: {judging}",
            *((f"NetworkPolicy {own} permits {_permitted(live)}",) if live else ()),
            f"the stack file declares {_declared(config)}",
            store_evidence(snapshot),
        ),
        fix=(*_fix(snapshot, restores=restores), again_command(snapshot)),
        prevention="Ship the egress policy with ESO, and let only the stack's deployers change policies there.",
        remedy=_remedy(snapshot, live) if restores else None,
    )


def destinations(config: StackConfig) -> Iterator[Destination]:
    """Yield what ESO's Pods must reach, by the same values that the stack's policy is made of."""
    spec = builders.EgressSpec.of(config)
    if config.has_vault:
        inside = spec.vault_namespace_labels or None
        yield Destination("Vault", "TCP", spec.vault_port, tuple(spec.vault_cidrs), inside)
    ports = (53, 5353) if config.cluster.platform == "openshift" else (53,)
    for port in ports:
        yield Destination("DNS", "UDP", port)
        yield Destination("DNS", "TCP", port)
    yield Destination("the API server", "TCP", spec.api_server_port, tuple(spec.api_server_cidrs))


def _pod_labels(snapshot: Snapshot) -> Mapping[str, str]:
    """Return the labels of ESO's Pods as its Deployment makes them; those of the configuration where there is none."""

    def read() -> Mapping[str, str]:
        path = DEPLOYMENT.collection(snapshot.config.eso.namespace)
        names = {item.name for item in snapshot.installations}
        found = [item for item in snapshot.cluster.items(path, CONTROLLER) if item["metadata"]["name"] in names]
        labels = labels_of(template_of(found[0] if found else {}))
        return labels or snapshot.config.eso.pod_labels

    return snapshot.once("eso/pod-labels", read)


def _declared(config: StackConfig) -> str:
    if not config.declares_egress:
        return "no NetworkPolicy (vault.egress)"
    return _permitted(builders.egress(builders.EgressSpec.of(config)))


def _permitted(policy: Mapping[str, Any]) -> str:
    # Of Red Hat's configuration the rules of its first entry, which is the stack's.
    configured = cast("dict[str, Any]", policy["spec"].get("controllerConfig") or {}).get("networkPolicies")
    return described((configured[0] if configured else policy["spec"]).get("egress") or [])


def _fix(snapshot: Snapshot, *, restores: bool) -> tuple[str, ...]:
    namespace = snapshot.config.eso.namespace
    if snapshot.config.eso.distribution == "redhat":
        return (
            "kubectl get externalsecretsconfig cluster -o yaml   # spec.controllerConfig.networkPolicies",
            up_command(snapshot),
        )
    if not snapshot.config.declares_egress:
        return (
            f"kubectl -n {namespace} get networkpolicies",
            "declare vault.egress, or have the owner of these policies permit it",
        )
    unattended = f"pull-secrets doctor --stack {snapshot.stack} --fix   # restores {snapshot.config.eso.network_policy}"
    return (
        f"kubectl -n {namespace} get networkpolicies",
        *((unattended,) if restores else ()),
        up_command(snapshot),
    )


def _remedy(snapshot: Snapshot, live: Mapping[str, Any] | None) -> Remedy:
    policy: dict[str, Any] = builders.egress(builders.EgressSpec.of(snapshot.config))
    # As the stack's own object, so that the next `pulumi up` takes it for what it declared.
    policy["metadata"]["annotations"][marks.STACK_ANNOTATION] = builders.owner(PROJECT, snapshot.stack)
    metadata = policy["metadata"]

    def apply(client: KubernetesClient) -> None:
        path = f"/apis/networking.k8s.io/v1/namespaces/{metadata['namespace']}/networkpolicies/{metadata['name']}"
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        client.request("PATCH", path, query, body=policy, content_type=APPLY)

    before = f", in place of {_permitted(live)}" if live else ""
    return Remedy(
        f"restore NetworkPolicy {metadata['namespace']}/{metadata['name']} as the stack file declares it: it permits "
        f"{_permitted(policy)}{before}",
        apply,
    )

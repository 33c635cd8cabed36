"""What nodes do beside a namespace's Secret: images that they have, logins of their own, mirrors that they ask."""

import re
from collections.abc import Iterator, Mapping

from pullsecrets.config import Registry
from pullsecrets.doctor.mirrors import mirror_login, mirrors_of, opened_by_namespace
from pullsecrets.doctor.model import Finding, Severity, check
from pullsecrets.doctor.platform import again_command, permitted_items
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import pod_evidence, remake
from pullsecrets.image import any_from
from pullsecrets.text import listed
from pullsecrets.workloads.pods import PodPull

VERIFIES_SINCE = (1, 35)
"""From this version on the kubelet verifies who may use the images that it has (KubeletEnsureSecretPulledImages in
pkg/features/kube_features.go of Kubernetes 1.36.3)."""
_VERSION = re.compile(r"v(\d+)\.(\d+)")


@check("Pods name a Secret for the images that they have from their node")
def pod_runs_from_cache(snapshot: Snapshot) -> Iterator[Finding]:
    """Pods run an image of a registry that was on their node already, and name no Secret that opens it.

    Up to Kubernetes 1.34 an image on a node serves every Pod there. From 1.35 on the kubelet verifies who may use it
    (`imagePullCredentialsVerificationPolicy`, https://kubernetes.io/docs/concepts/containers/images/): such a Pod gets
    ErrImagePull, or ErrImageNeverPull, once its node is replaced, or upgraded and the image pulled again. What a kubelet
    pulled before its upgrade counts as preloaded and is not verified. Look before the upgrade.
    """
    for registry in snapshot.config.registries:
        for namespace, found in _by_namespace(snapshot, registry):
            pods = [pod for pod in found if any_from(pod.cached_images, registry.hosts)]
            if not pods:
                continue
            versions = {pod.node: _versions(snapshot).get(pod.node, "unknown") for pod in pods if pod.node}
            verified = any(map(_verifies, versions.values()))
            yield Finding(
                severity=Severity.WARNING,
                symptom=f"Pods in {namespace} run images of {listed(registry.hosts)} that no Secret of theirs opens.",
                cause=(
                    "The images were on the node already. "
                    + (
                        "Its kubelet verifies who may use them: the next start elsewhere, or of a new image, fails."
                        if verified
                        else "From Kubernetes 1.35 on they serve only whom they were pulled for: an upgraded node refuses."
                    )
                ),
                evidence=(
                    *pod_evidence(pods),
                    f"kubelets: {listed(f'{name} {version}' for name, version in versions.items())}",
                    "a login of the node's own, if it has one for that host, would open them too",
                ),
                fix=(
                    f"pull-secrets doctor {namespace} --stack {snapshot.stack}   # which link of the chain is missing",
                    *dict.fromkeys(map(remake, pods)),
                ),
                prevention="Run `pull-secrets doctor --only pod-runs-from-cache` before nodes are upgraded.",
                namespace=namespace,
                registry=registry.name,
            )


@check("Registries are opened by the Secrets that Pods name", explains=("pod-runs-from-cache",))
def host_opened_by_node(snapshot: Snapshot) -> Iterator[Finding]:
    """Pods that name no Secret pull from a registry: the node logs in by itself, or the registry asks for no login.

    A kubelet credential provider does so (KEP-4412, on by default from Kubernetes 1.34: ServiceAccounts' tokens instead of
    Secrets), and so do logins in a node's own file, as the cluster pull-secret of OpenShift. Seen on Pods that pull
    always and got their image. Such a registry may not need this stack at all; while it has both, removing a namespace's
    Secret removes no access.
    """
    for registry in snapshot.config.registries:
        for namespace, found in _by_namespace(snapshot, registry):
            pods = [pod for pod in found if any_from(pod.pulled_images, registry.hosts)]
            if not pods:
                continue
            yield Finding(
                severity=Severity.WARNING,
                symptom=f"Pods in {namespace} pull from {listed(registry.hosts)} without naming a Secret.",
                cause="The node logs in by itself (a kubelet credential provider, or its own file), or no login is required.",
                evidence=(
                    *pod_evidence(pods),
                    *snapshot.once("token-audiences", lambda: tuple(_token_audiences(snapshot))),
                ),
                fix=(
                    "# on a node: the kubelet's --image-credential-provider-config, and /var/lib/kubelet/config.json",
                    "# where a credential provider is to serve the registry, take it out of the stack (docs/alternatives.md)",
                ),
                prevention="Let one thing open each registry: the nodes' credential provider, or this stack.",
                namespace=namespace,
                registry=registry.name,
            )


def _by_namespace(snapshot: Snapshot, registry: Registry) -> Iterator[tuple[str, list[PodPull]]]:
    """Yield the Pods by namespace that have an image of a registry although no Secret that they name opens it."""
    found: dict[str, list[PodPull]] = {}
    for pod in snapshot.pods:
        if pod.lacks(registry) and not _may_be_opened(snapshot, pod) and not pod.fails_on(registry.hosts):
            found.setdefault(pod.namespace, []).append(pod)
    yield from found.items()


def _may_be_opened(snapshot: Snapshot, pod: PodPull) -> bool:
    """Tell whether a Secret that a Pod names exists, or may exist: what it holds is not read."""
    inventory = snapshot.inventory
    if not inventory.every_pull_secret:
        return bool(pod.references)
    there = snapshot.once(
        "pull-secrets/places",
        lambda: {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in inventory.pull_secrets},
    )
    return any((pod.namespace, name) in there for name in pod.references)


def _versions(snapshot: Snapshot) -> Mapping[str, str]:
    """Return each node's version of the kubelet; none for anyone who may not list nodes."""
    return snapshot.once(
        "nodes",
        lambda: {
            str(item["metadata"]["name"]): str(item["status"]["nodeInfo"]["kubeletVersion"])
            for item in permitted_items(snapshot, "/api/v1/nodes")
        },
    )


def _verifies(version: str) -> bool:
    found = _VERSION.match(version)
    return bool(found) and (int(found[1]), int(found[2])) >= VERIFIES_SINCE


def _token_audiences(snapshot: Snapshot) -> Iterator[str]:
    """Yield which roles let kubelets request ServiceAccounts' tokens for a registry's audience.

    The verb is that of plugin/pkg/admission/noderestriction/admission.go of Kubernetes 1.36.3.
    """
    for role in permitted_items(snapshot, "/apis/rbac.authorization.k8s.io/v1/clusterroles"):
        for rule in role.get("rules") or ():
            if "request-serviceaccounts-token-audience" in rule.get("verbs", ()):
                audiences = listed(rule.get("resources") or ["any audience"])
                yield f"ClusterRole {role['metadata']['name']}: kubelets request ServiceAccounts' tokens for {audiences}"


@check("Mirrors of the stack's registries are opened by the Secrets that it delivers")
def registry_mirrored(snapshot: Snapshot) -> Iterator[Finding]:
    """OpenShift's nodes pull a registry's images from mirrors, and namespaces' Secrets do not open those.

    An ImageDigestMirrorSet, ImageTagMirrorSet or ImageContentSourcePolicy names the registry as a source. Mirrors are
    opened by the cluster pull-secret, which this project never touches; with `NeverContactSource` the delivered Secret is
    used for nothing. With CRIOCredentialProviderConfig (Tech Preview from OpenShift 4.22) they are opened by Secrets of the
    Pod's namespace that hold a login for the mirror's own host.
    """
    for registry in snapshot.config.registries:
        mirrors = mirrors_of(snapshot, registry)
        if not mirrors or opened_by_namespace(snapshot, registry):
            continue
        alone = all(item.alone for item in mirrors)
        yield Finding(
            severity=Severity.WARNING,
            symptom=f"Pulls of {listed(registry.hosts)} ask a mirror first, and what that says is no matter of the Secret.",
            cause=(
                f"{len(mirrors)} mirrors of the cluster take in {listed(registry.hosts)}, opened by "
                f"{mirror_login(snapshot, registry)}{'; the registry itself is never asked' if alone else ''}."
            ),
            evidence=tuple(map(str, mirrors)),
            fix=(
                "oc get criocredentialproviderconfig cluster -o yaml   # matchImages takes in the registry, from 4.22 on",
                "# else the cluster's administrators keep the mirrors' login; this stack leaves it alone",
                again_command(snapshot),
            ),
            prevention="Name mirrors' hosts in the registry's hosts, and seed a login for them, where CRI-O reads it.",
            registry=registry.name,
        )

"""External Secrets Operator as it runs in the cluster: which version, with which flags, and how to make it sync now."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from pullsecrets import image
from pullsecrets.config import Registry
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.kube import eso_versions
from pullsecrets.kube.client import KubernetesClient, unless_refused
from pullsecrets.kube.eso_versions import Version, parse_version
from pullsecrets.kube.marks import FORCE_SYNC_ANNOTATION
from pullsecrets.kube.objects import Object, annotations_of, collection, labels_of, status_of
from pullsecrets.kube.podspec import DEPLOYMENT, template_of
from pullsecrets.kube.selectors import by_name

GROUP = "/apis/external-secrets.io/v1"
CONTROLLER = {"labelSelector": "app.kubernetes.io/name=external-secrets"}
_OTHER_PROGRAMS = frozenset({"webhook", "certcontroller"})
_PARALLEL = 8
_ATTEMPTS = 5
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Installation:
    """One Deployment of the operator's controller."""

    namespace: str
    name: str
    version: Version | None
    """From the image's tag, else from the label `app.kubernetes.io/version`; None when neither tells it."""
    replicas: int
    """How many Pods are wanted."""
    ready: int
    flags: Mapping[str, str] = field(default_factory=dict[str, str])
    """The controller's flags without their dashes; one without a value is `true`."""
    service_account: str = "default"

    @property
    def fans_out(self) -> bool:
        """Whether it works on ClusterExternalSecrets; one that is scoped to a namespace does not."""
        return not eso_versions.is_off(eso_versions.FANS_OUT, self.flags)

    @property
    def hands_on(self) -> bool:
        """Whether an annotation on a ClusterExternalSecret is known to reach its ExternalSecrets."""
        return self.version is not None and self.version >= eso_versions.HANDS_ON_FORCE_SYNC

    def __str__(self) -> str:
        """Namespace, name and version, for messages."""
        version = "unknown version" if self.version is None else eso_versions.told(self.version)
        return f"{self.namespace}/{self.name} ({version})"


def _request() -> dict[str, Any]:
    """Return the change of an object's metadata that has ESO refresh now: a value that the annotation never had."""
    return {"metadata": {"annotations": {FORCE_SYNC_ANNOTATION: str(time.time_ns())}}}


def external_secret_path(namespace: str, name: str) -> str:
    """Return the path of an ExternalSecret; the one by which a namespace receives a registry's Secret has its name."""
    return f"{GROUP}/namespaces/{namespace}/externalsecrets/{name}"


def read_external_secrets(cluster: KubernetesClient, registry: str, namespace: str | None = None) -> dict[str, Object]:
    """Return the ExternalSecrets of a registry's name by namespace."""
    path = collection("external-secrets.io/v1", "ExternalSecret", namespace)
    return {str(item["metadata"]["namespace"]): item for item in cluster.items(path, by_name(registry))}


def find_installations(cluster: KubernetesClient, namespace: str | None = None) -> tuple[Installation, ...]:
    """Return the operator's controllers in one or all namespaces, by the label that its chart and Red Hat's set."""
    found = [_installation(item) for item in cluster.items(DEPLOYMENT.collection(namespace), CONTROLLER)]
    return tuple(sorted((item for item in found if item), key=lambda item: (item.namespace, item.name)))


def choose_installation(installations: Iterable[Installation]) -> Installation:
    """Return the one controller that works on ClusterExternalSecrets.

    Raises:
        PullSecretsError: when there is none, more than one, or none of its Pods is ready: nothing would sync, or two
            would undo each other's work.
    """
    controllers = tuple(installations)
    found = [item for item in controllers if item.fans_out]
    if controllers and not found:
        raise PullSecretsError(
            f"External Secrets Operator: {', '.join(map(str, controllers))} leaves ClusterExternalSecrets alone "
            f"(--{eso_versions.FANS_OUT.flag}=false), so nothing would deliver the credential; switch them on, see "
            "`pull-secrets doctor`"
        )
    if not found:
        raise PullSecretsError(
            "External Secrets Operator: found no Deployment with the label app.kubernetes.io/name=external-secrets, so "
            "nothing would deliver the credential; install it, or see `pull-secrets doctor`"
        )
    if len(found) > 1:
        raise PullSecretsError(
            f"External Secrets Operator: found {len(found)} controllers ({', '.join(map(str, found))}) that work on "
            "the same objects; remove all but one, see `pull-secrets doctor`"
        )
    if not found[0].ready:
        raise PullSecretsError(
            f"External Secrets Operator: {found[0]} has no ready Pod of {found[0].replicas}, so nothing would deliver "
            "the credential; start it first, see `pull-secrets doctor`"
        )
    return found[0]


def require_refreshing(cluster: KubernetesClient, registry: Registry) -> None:
    """Refuse a registry whose live objects would never read Vault again.

    Raises:
        BadInputError: when the ClusterExternalSecret is not there, or its refresh is off (ESO then ignores every
            change but the first sync).
    """
    path = f"{GROUP}/clusterexternalsecrets/{registry.name}"
    found = cluster.find(path)
    if found is None:
        raise BadInputError(
            f"ClusterExternalSecret {registry.name!r} does not exist, so no namespace would receive the credential; "
            "run `pulumi up`, or use `pull-secrets seed` to write the credential alone"
        )
    setting = stalled_refresh(cast("dict[str, Any]", found["spec"]["externalSecretSpec"]))
    if setting:
        raise BadInputError(
            f"ClusterExternalSecret {registry.name!r}: found externalSecretSpec.{setting}, with which ESO never reads "
            f"Vault again; allowed: a refreshInterval above 0; run `pulumi up` to put {registry.refresh} back"
        )


def stalled_refresh(spec: Mapping[str, Any]) -> str | None:
    """Return the setting of an ExternalSecret's spec that keeps ESO from syncing again; None when it syncs."""
    policy = str(spec.get("refreshPolicy") or "Periodic")
    if policy == "CreatedOnce":
        return "refreshPolicy: CreatedOnce"
    interval = str(spec.get("refreshInterval") or "1h")
    never = interval.startswith("-") or not re.search("[1-9]", interval)
    return f"refreshInterval: {interval}" if never and policy == "Periodic" else None


def held_refresh(spec: Mapping[str, Any]) -> str | None:
    """Return the setting by which ESO does not sync whenever the interval is over; None when it does.

    With `OnChange`, and outside of `syncWindows` (since ESO 2.7), it still syncs when it is told to: a changed
    annotation comes before both (`shouldRefresh` in pkg/controllers/externalsecret/externalsecret_controller.go of
    v2.9.0).
    """
    policy, windows = spec.get("refreshPolicy"), spec.get("syncWindows")
    if policy == "OnChange":
        return "refreshPolicy: OnChange"
    return stalled_refresh(spec) or (f"syncWindows: {windows['kind']}" if windows else None)


def force_sync(
    cluster: KubernetesClient, registry: Registry, installation: Installation | None, namespaces: Iterable[str]
) -> None:
    """Make ESO read Vault again now for a registry, in the way that the installed version understands.

    Since 0.20.0 the ClusterExternalSecret hands the annotation on. Before that each ExternalSecret is annotated, and
    looked at again because the ClusterExternalSecret's controller may remove the annotation before it was seen. Where
    the version is not known both are done, with one value, so that neither undoes the other.

    Args:
        cluster: the cluster, as an operator.
        registry: the registry whose content changed.
        installation: the controller that will act, as `choose_installation` gives it; None to look for it.
        namespaces: where its Secret is wanted; used where each ExternalSecret is annotated.

    Raises:
        PullSecretsError: when an ExternalSecret neither keeps the annotation nor syncs, or nothing would act on it.
    """
    installation = installation or choose_installation(find_installations(cluster))
    change = _request()
    if installation.version is None or installation.hands_on:
        cluster.merge_patch(f"{GROUP}/clusterexternalsecrets/{registry.name}", change)
    if not installation.hands_on:
        _annotate_each(cluster, registry, change, namespaces)


def sync_relay(cluster: KubernetesClient, registry: Registry, namespace: str) -> None:
    """Make ESO read Vault again now for the one ExternalSecret of ESO's namespace that the others read from.

    It is the stack's own, so that no ClusterExternalSecret takes the annotation off again.
    """
    cluster.merge_patch(external_secret_path(namespace, registry.name), _request())


def _annotate_each(
    cluster: KubernetesClient, registry: Registry, change: Mapping[str, Any], namespaces: Iterable[str]
) -> None:
    before = read_external_secrets(cluster, registry.name)
    left = sorted(set(namespaces) & before.keys())
    for attempt in range(_ATTEMPTS):
        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            list(pool.map(partial(_annotate, cluster, registry, change), left))
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        now = read_external_secrets(cluster, registry.name)
        value = change["metadata"]["annotations"][FORCE_SYNC_ANNOTATION]
        left = [name for name in left if name in now and not _took(before[name], now[name], value)]
        if not left:
            return
    raise PullSecretsError(
        f"ExternalSecret {registry.name!r} in namespaces {', '.join(left)}: the annotation {FORCE_SYNC_ANNOTATION} is "
        "taken off before ESO acts on it; find what rewrites it (Argo CD?), or run the command again"
    )


def _annotate(cluster: KubernetesClient, registry: Registry, change: Mapping[str, Any], namespace: str) -> None:
    # Where it is not there, the namespace lost its label or is being deleted: it is no target any more.
    unless_refused(lambda: cluster.merge_patch(external_secret_path(namespace, registry.name), change), 404)


def _took(before: Mapping[str, Any], now: Mapping[str, Any], value: str) -> bool:
    """Tell whether ESO saw the annotation, or will: it synced since, or the annotation is still on."""
    return annotations_of(now).get(FORCE_SYNC_ANNOTATION) == value or _synced_at(now) > _synced_at(before)


def _synced_at(external_secret: Mapping[str, Any]) -> str:
    # RFC 3339 in UTC, so that later times sort later.
    return str(status_of(external_secret).get("refreshTime") or "")


def _installation(deployment: Mapping[str, Any]) -> Installation | None:
    metadata, container = deployment["metadata"], DEPLOYMENT.spec(deployment)["containers"][0]
    arguments = [str(item) for item in (*(container.get("command") or ()), *(container.get("args") or ()))]
    if _OTHER_PROGRAMS & set(arguments):
        return None
    labels = {**labels_of(template_of(deployment)), **labels_of(deployment)}
    return Installation(
        namespace=metadata["namespace"],
        name=metadata["name"],
        version=image_version(container["image"]) or parse_version(labels.get("app.kubernetes.io/version", "")),
        replicas=int(deployment["spec"].get("replicas", 1)),
        ready=int(status_of(deployment).get("readyReplicas") or 0),
        flags=dict(_flags(arguments)),
        service_account=DEPLOYMENT.spec(deployment).get("serviceAccountName", "default"),
    )


def image_version(reference: str) -> Version | None:
    """Return the version that an image's tag tells; None for a digest alone or another tag."""
    found = image.parse(reference)
    return parse_version(found.tag) if found and found.tag else None


def _flags(arguments: list[str]) -> Iterator[tuple[str, str]]:
    for argument, following in zip(arguments, [*arguments, "--"][1:], strict=True):
        if not argument.startswith("-"):
            continue
        name, equals, value = argument.lstrip("-").partition("=")
        yield name, value if equals else ("true" if following.startswith("-") else following)

"""What keeps a rotation from arriving or from staying: refused or reported before anything is written."""

import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pullsecrets import redaction
from pullsecrets.config import Registry, StackConfig
from pullsecrets.credential.retention import problems, read_retention
from pullsecrets.credential.vault import VaultClient
from pullsecrets.delivery.proof import selected_namespaces
from pullsecrets.errors import BadInputError, PullSecretsError
from pullsecrets.kube import eso
from pullsecrets.kube.client import (
    FIELD_MANAGER,
    MERGE_PATCH,
    METADATA_EVENTS,
    KubernetesApiError,
    KubernetesClient,
    last_seen,
    may,
    unless_refused,
)
from pullsecrets.kube.eso import Installation
from pullsecrets.kube.marks import PULL_SECRET_TYPE
from pullsecrets.kube.objects import is_leaving, secret_path
from pullsecrets.kube.ownership import Delivery, read_deliveries
from pullsecrets.kube.selectors import by_name, written
from pullsecrets.text import counted

_PARALLEL = 8
_PROBE = {"metadata": {"annotations": {"apps.platform/tried-by": FIELD_MANAGER}}}
_STANDING = re.compile(r"exceeded quota|denied|forbidden|ValidatingAdmissionPolicy|admission webhook", re.IGNORECASE)
"""What an ExternalSecret's event says when the API server refuses the Secret, which no new credential changes."""


@dataclass(frozen=True)
class Target:
    """A registry of a stack, with the cluster and the Vault it lives in; a sealed one has no Vault."""

    config: StackConfig
    registry: Registry
    cluster: KubernetesClient
    vault: VaultClient | None


@dataclass(frozen=True)
class Outlook:
    """What is known before a write of how it will go."""

    obstacles: Mapping[str, str]
    """By namespace: why it will not take the credential, for a reason that was there before."""
    warnings: tuple[str, ...]
    """What Vault will do later."""
    unchecked: tuple[str, ...] = ()
    """What could not be looked at."""


def prepare(target: Target, only: Collection[str] | None = None) -> Installation:
    """Check, before anything is written, that what is written would arrive; return the controller that will sync.

    Args:
        only: the namespaces that are to be proved; None for all.

    Raises:
        BadInputError: when its fan-out is not there, its refresh is off, there is no namespace to prove it in, or a
            Secret there is not ESO's to write.
        PullSecretsError: when ESO does not run, or more than once.
    """
    eso.require_refreshing(target.cluster, target.registry)
    chosen = _require_selected(target, only)
    _require_kept(target, chosen)
    return eso.choose_installation(eso.find_installations(target.cluster))


def foresee(target: Target, only: Collection[str] | None, timeout: float) -> Outlook:
    """Look for what will go wrong with a rotation although nothing forbids it; changes nothing.

    Args:
        only: the namespaces that are to be proved; None for all.
        timeout: seconds that the rotation may take.
    """
    name, cluster = target.registry.name, target.cluster
    found = read_deliveries(cluster, name)
    chosen = selected_namespaces(cluster, target.registry, only)
    obstacles = {
        **_leaving(target, only),
        **_refused_before(cluster, name, {item: found[item] for item in chosen & found.keys()}),
    }
    unchecked: list[str] = []
    if may(cluster, "patch", "secrets", name=name):
        there = [namespace for namespace in sorted(chosen) if namespace in found and found[namespace].secret]
        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            tried = dict(zip(there, pool.map(partial(_dry_run, cluster, name), there), strict=True))
        obstacles |= {namespace: refusal for namespace, refusal in tried.items() if refusal}
    else:
        unchecked.append(f"whether the cluster's policies let Secret {name} be changed: you may not patch Secrets")
    return Outlook(dict(sorted(obstacles.items())), tuple(_vault_warnings(target, timeout)), tuple(unchecked))


def require_readable(target: Target) -> None:
    """Refuse to promise a comparison of bytes to a user who may not read them.

    Raises:
        BadInputError: naming what is missing.
    """
    name = target.registry.name
    if not may(target.cluster, "get", "secrets", name=name):
        raise BadInputError(
            f"--by-content: you may not get Secrets named {name!r} in all namespaces; leave it out, and delivery is "
            "proved by metadata, or run as a user who may"
        )


def require_verifier(target: Target) -> None:
    """Refuse to promise a pull to a user who may not make the Pod that pulls.

    Raises:
        BadInputError: naming the role.
    """
    if not may(target.cluster, "create", "pods"):
        raise BadInputError(
            "--verify: you may not create Pods in all namespaces; run as one of the verifiers (`pull-secrets roles`), "
            "or leave it out"
        )


def require_in_vault(registry: Registry) -> None:
    """Refuse a registry whose credential is not in Vault.

    Raises:
        BadInputError: naming the command that renews it.
    """
    if registry.sealed:
        raise BadInputError(
            f"registry {registry.name!r}: found source: sealedSecret, whose credential is not in Vault; "
            f"renew it with `pull-secrets seal {registry.name}`"
        )


def require_may_write(target: Target, version: int) -> None:
    """Refuse a Vault token that may not write a credential and what is recorded beside it.

    Args:
        target: the registry whose credential is written.
        version: the current version of its path; 0 where there is none.

    Raises:
        BadInputError: naming the capabilities that are missing.
        PullSecretsError: when Vault does not answer, or does not tell.
    """
    if target.vault is None:
        return
    mount, path = target.config.vault.mount, target.registry.path
    wanted = {f"{mount}/data/{path}": "update" if version else "create", f"{mount}/metadata/{path}": "patch"}
    found = target.vault.capabilities(wanted)
    missing = [f"{verb} on {place}" for place, verb in wanted.items() if not {verb, "root"} & set(found[place])]
    if missing:
        raise BadInputError(
            f"Vault at {target.vault.address}: the token lacks {' and '.join(missing)}; log in as one who may seed"
        )


def require_way_back(target: Target) -> None:
    """Refuse to promise a way back where Vault drops the version before with the write.

    Raises:
        BadInputError: naming the setting.
    """
    if target.vault and not (found := read_retention(target.vault, target.config, target.registry)).keeps_way_back:
        raise BadInputError(f"--rollback-on-failure: {next(problems(found, _path(target)))}")


def _require_selected(target: Target, only: Collection[str] | None) -> frozenset[str]:
    """Return the namespaces that are to be proved, and refuse to begin where the proof would be one of nothing.

    Raises:
        BadInputError: when a wanted namespace does not carry the label, or none does.
    """
    label = written(target.registry.selector)
    labelled = selected_namespaces(target.cluster, target.registry)
    unknown = sorted(set(only or ()) - labelled)
    if unknown:
        raise BadInputError(
            f"--only: found {', '.join(unknown)}; allowed: namespaces that carry {label} and are not being deleted "
            f"(`kubectl get namespaces --selector {label}`)"
        )
    if not labelled:
        alone = "" if target.registry.sealed else ", or use `pull-secrets seed` to write the credential alone"
        raise BadInputError(
            f"registry {target.registry.name!r}: no namespace carries {label}, so there is none to prove delivery in; "
            f"label the namespaces (`pulumi up` does where the stack declares them){alone}"
        )
    return labelled if only is None else labelled & set(only)


def _require_kept(target: Target, namespaces: Collection[str]) -> None:
    """Refuse to begin where a Secret would keep its old content, whatever is written.

    Raises:
        BadInputError: naming each such Secret, why, and the command that puts it right.
    """
    name = target.registry.name
    mistyped = {
        item["metadata"]["namespace"]: f"it is no {PULL_SECRET_TYPE}, and a Secret's type cannot be changed"
        for item in target.cluster.items(
            "/api/v1/secrets", by_name(name, f"type!={PULL_SECRET_TYPE}"), metadata_only=True
        )
    }
    lines = [
        f"  {namespace}: {mistyped.get(namespace) or found.fault}; {found.fix(namespace)}"
        for namespace, found in read_deliveries(target.cluster, name).items()
        if namespace in namespaces and (found.fault or namespace in mistyped)
    ]
    if lines:
        raise BadInputError(
            f"registry {name!r}: in {counted(len(lines), 'namespace')} Secret {name} would keep its content; nothing "
            "was written; fix each, or name the others with --only:\n" + "\n".join(lines)
        )


def _leaving(target: Target, only: Collection[str] | None) -> dict[str, str]:
    """Return the namespaces with the label that are being deleted, where nothing can be made any more."""
    query = {"labelSelector": written(target.registry.selector)}
    return {
        item["metadata"]["name"]: "it is being deleted, so it is left out"
        for item in target.cluster.items("/api/v1/namespaces", query, metadata_only=True)
        if is_leaving(item) and (only is None or item["metadata"]["name"] in only)
    }


def _refused_before(cluster: KubernetesClient, name: str, found: Mapping[str, Delivery]) -> dict[str, str]:
    """Return the namespaces whose Secret the API server refuses to ESO, by a quota or a policy."""
    failing = {name for name, delivery in found.items() if delivery.secret is None or delivery.unproved() is not None}
    if not failing:
        return {}
    query = {"fieldSelector": f"involvedObject.kind=ExternalSecret,involvedObject.name={name},type=Warning"}
    events = unless_refused(lambda: sorted(cluster.items("/api/v1/events", query), key=last_seen), 403) or ()
    told = {str(event["involvedObject"].get("namespace")): str(event.get("message", "")) for event in events}
    return {item: redaction.redact(told[item]) for item in failing if item in told and _STANDING.search(told[item])}


def _vault_warnings(target: Target, timeout: float) -> Iterator[str]:
    if target.vault is None:
        return
    yield from problems(read_retention(target.vault, target.config, target.registry), _path(target))
    try:
        left = target.vault.token_seconds()
    except PullSecretsError:
        return
    if left is not None and left < timeout:
        yield (
            f"the Vault token ends in {left} s, before --timeout ({timeout:g} s): a rotation that takes longer is "
            "neither recorded nor taken back; log in again, or renew it (`vault token renew`)"
        )


def _path(target: Target) -> str:
    return f"{target.config.vault.mount}/{target.registry.path}"


def _dry_run(cluster: KubernetesClient, name: str, namespace: str) -> str | None:
    """Have the server judge a change of a Secret without making it; return why it would refuse."""
    query = {"fieldManager": FIELD_MANAGER, "dryRun": "All"}
    path = secret_path(namespace, name)
    try:
        cluster.request("PATCH", path, query, body=_PROBE, content_type=MERGE_PATCH, accept=METADATA_EVENTS)
    except KubernetesApiError as error:
        return None if error.status == 404 else redaction.redact(error.server_message)
    return None

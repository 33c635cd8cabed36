"""The stack's own objects between Vault and the namespaces: stores, fan-outs, relays and SealedSecrets."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, cast

from pullsecrets.config import Registry
from pullsecrets.credential.sealed import sealed_secret_path
from pullsecrets.doctor.model import Finding, Severity, check
from pullsecrets.doctor.platform import (
    NOT_SYNCED,
    STORE_UNUSABLE,
    again_command,
    elsewhere,
    readiness,
    revalidate_command,
    sole,
    store_evidence,
    stores,
    up_command,
    warnings,
)
from pullsecrets.doctor.snapshot import Snapshot
from pullsecrets.doctor.tenancy import carries, staying
from pullsecrets.kube.eso import GROUP, external_secret_path
from pullsecrets.kube.objects import condition, labels_of
from pullsecrets.kube.selectors import selects
from pullsecrets.manifests.builders import PullSecretSpec
from pullsecrets.redaction import redact


def sealed_secret(snapshot: Snapshot, registry: Registry) -> Mapping[str, Any] | None:
    """Return the SealedSecret of a registry as it is in the cluster; None when there is none."""
    path = sealed_secret_path(snapshot.config, registry)
    return snapshot.once(f"sealed/{registry.name}", partial(snapshot.cluster.find, path))


def opening(item: Mapping[str, Any]) -> tuple[str, str]:
    """Return status and message of a SealedSecret's condition Synced; `Unknown` while no controller reconciled it."""
    synced = condition(item, "Synced")
    return (synced["status"], synced.get("message", "")) if synced else ("Unknown", "no controller reconciled it")


@check("The stack's ClusterSecretStores exist", explains=NOT_SYNCED)
def store_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """A ClusterSecretStore of the stack is not in the cluster.

    ExternalSecrets name it: those of a relayed registry the relay's, all others the registry's own that reads Vault.
    `pulumi up` recreates it; on clusters where Argo CD applies the rendered objects, look at the Application.
    """
    for store in stores(snapshot):
        if store.item is not None:
            continue
        yield Finding(
            severity=Severity.CLUSTER,
            symptom="Every ExternalSecret that names the store fails: could not get ClusterSecretStore.",
            cause=f"ClusterSecretStore {store.name!r} does not exist.",
            evidence=(f"GET {GROUP}/clustersecretstores/{store.name}: 404",),
            fix=(up_command(snapshot), again_command(snapshot)),
            prevention="Keep tenants.protect on, and let only the stack's deployers delete ClusterSecretStores.",
            registry=sole(store.registries),
        )


@check("The ClusterSecretStores are Ready", explains=NOT_SYNCED)
def store_not_ready(snapshot: Snapshot) -> Iterator[Finding]:
    """A ClusterSecretStore of the stack is not Ready, and its own message is all that is known of the cause.

    Other checks look for the cause themselves, with a login of doctor itself; where one of them finds it, this one is
    listed below it. ESO reconciles a store every few minutes, so it may stay so for a while after the cause is gone.
    """
    for store in stores(snapshot):
        status, message = readiness(store.item)
        if store.item is None or status == "True":
            continue
        yield Finding(
            severity=Severity.CLUSTER,
            symptom="No namespace receives a new or rotated credential.",
            cause=f"ClusterSecretStore {store.name!r} is not Ready: {message}.",
            evidence=(f"ClusterSecretStore {store.name}: Ready={status}: {message}",),
            fix=(
                f"kubectl describe clustersecretstore {store.name}   # its events hold the provider's answer",
                revalidate_command(store.name),
                up_command(snapshot),
                again_command(snapshot),
            ),
            prevention="Alert on the store's condition Ready; it fails before the first Secret is missed.",
            registry=sole(store.registries),
        )


@check(
    "The live stores name the Vault that the stack file declares",
    explains=("vault-unreachable", "vault-certificate-untrusted", *STORE_UNUSABLE),
)
def store_names_other_vault(snapshot: Snapshot) -> Iterator[Finding]:
    """A live store names another Vault than the stack file declares.

    The store was edited, or the stack file was edited without a `pulumi up`. ESO reads what the store names, and the
    next `pulumi up` restores what the stack file names: find out which one is right first. `vault.address` is how the
    cluster reaches Vault; VAULT_ADDR, such as that of a port-forward, is how one machine does.
    """
    for store, live in elsewhere(snapshot):
        declared = snapshot.config.vault.address
        works = readiness(snapshot.store(store.name))[0] == "True"
        keep = f"pulumi config set --path pull-secrets:vault.address {live} --stack {snapshot.stack}"
        yield Finding(
            severity=Severity.WARNING if works else Severity.CLUSTER,
            symptom=(
                f"The next `pulumi up` would have ESO read {declared}."
                if works
                else "The store is not Ready, and no namespace receives a new or rotated credential through it."
            ),
            cause=f"ClusterSecretStore {store.name} names {live}, and the stack file {declared}.",
            evidence=(
                f"ClusterSecretStore {store.name}: spec.provider.vault.server: {live}",
                f"Pulumi.{snapshot.stack}.yaml: vault.address: {declared}",
                store_evidence(snapshot, store),
            ),
            fix=(
                f"{keep}   # if the store is right",
                f"pulumi preview --stack {snapshot.stack} --refresh --diff   # shows what `pulumi up` would do",
                again_command(snapshot),
            ),
            prevention="Let only the stack's deployers write ClusterSecretStores, and declare what the cluster uses.",
            registry=sole(store.registries),
        )


@check("The store admits every namespace with an opt-in label", explains=NOT_SYNCED)
def store_denies_namespace(snapshot: Snapshot) -> Iterator[Finding]:
    """A namespace carries the opt-in label and the store's conditions do not admit it (`denied by spec.condition`).

    The stack puts the registry's label into the conditions of its store; one that was edited leaves namespaces out. The
    conditions are judged here, without waiting for ESO.
    """
    for registry in snapshot.config.registries:
        store = PullSecretSpec.of(snapshot.config, registry).read_by
        live = snapshot.store(store)
        for name, item in staying(snapshot) if live else ():
            if live and carries(item, registry) and not admits(live, name, labels_of(item)):
                yield _denied(snapshot, registry, name, store)


def admits(store: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> bool:
    """Tell whether a store may be used from a namespace: any of its conditions will do, and none admits all."""
    conditions = cast("list[dict[str, Any]]", store["spec"].get("conditions") or [])
    return not conditions or any(_condition_admits(condition, namespace, labels) for condition in conditions)


def _condition_admits(condition: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> bool:
    names = cast("list[str]", condition.get("namespaces") or [])
    patterns = cast("list[str]", condition.get("namespaceRegexes") or [])
    return (
        namespace in names
        or any(re.search(pattern, namespace) for pattern in patterns)
        or selects(condition.get("namespaceSelector"), labels)
    )


def _denied(snapshot: Snapshot, registry: Registry, namespace: str, store: str) -> Finding:
    told = warnings(snapshot, "ExternalSecret", "UpdateFailed").get((namespace, registry.name), ())
    return Finding(
        severity=Severity.TENANT,
        symptom=f"ExternalSecret {registry.name} in {namespace} fails: denied by spec.condition.",
        cause=f"None of the conditions of ClusterSecretStore {store!r} admits namespace {namespace}.",
        evidence=(
            f"ClusterSecretStore {store}: spec.conditions select none of the labels of namespace {namespace}",
            *(f"event of ExternalSecret {namespace}/{registry.name}: {text}" for text in told[:1]),
        ),
        fix=(up_command(snapshot), again_command(snapshot)),
        prevention="Let only the stack write the store: it derives the conditions from the registries' selectors.",
        namespace=namespace,
        registry=registry.name,
    )


@check("Each registry's ClusterExternalSecret exists", explains=NOT_SYNCED)
def fanout_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """The ClusterExternalSecret of a registry is not in the cluster, so no namespace is served, whatever its label.

    Secrets that were delivered went with it, because ESO owns them.
    """
    for registry, found in snapshot.fanouts.items():
        if found is not None:
            continue
        yield Finding(
            severity=Severity.CLUSTER,
            symptom=f"Namespaces labelled for {registry} have neither ExternalSecret nor Secret.",
            cause=f"ClusterExternalSecret {registry!r} does not exist.",
            evidence=(f"GET {GROUP}/clusterexternalsecrets: no {registry}",),
            fix=(up_command(snapshot), again_command(snapshot)),
            prevention="Let only the stack's deployers delete ClusterExternalSecrets: their Secrets go with them.",
            registry=registry,
        )


@check("What fills each relayed registry's Secret exists", explains=NOT_SYNCED)
def relay_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """What fills a relayed registry's one Secret in ESO's namespace does not exist, so every namespace's copy has no source.

    ESO owns the Secret that it made, so it went with its ExternalSecret; the namespaces keep their copies until then.
    """
    for registry in snapshot.config.registries:
        if not registry.relayed or _relay_exists(snapshot, registry):
            continue
        kind, path = _relay_source(snapshot, registry)
        yield Finding(
            severity=Severity.CLUSTER,
            symptom="ExternalSecrets of every namespace fail or go stale: the Secret that they read is not renewed.",
            cause=f"{kind} {registry.name!r} in namespace {snapshot.config.eso.namespace!r} does not exist.",
            evidence=(f"GET {path}: not found",),
            fix=(up_command(snapshot), again_command(snapshot)),
            prevention="Let only the stack's deployers delete what part-of=pull-secrets labels in ESO's namespace.",
            registry=registry.name,
        )


def _relay_exists(snapshot: Snapshot, registry: Registry) -> bool:
    if registry.sealed:
        return sealed_secret(snapshot, registry) is not None
    return snapshot.config.eso.namespace in snapshot.external_secrets[registry.name]


def _relay_source(snapshot: Snapshot, registry: Registry) -> tuple[str, str]:
    if registry.sealed:
        return "SealedSecret", sealed_secret_path(snapshot.config, registry)
    return "ExternalSecret", external_secret_path(snapshot.config.eso.namespace, registry.name)


@check("The controller has opened each registry's SealedSecret", explains=NOT_SYNCED)
def sealed_secret_unopened(snapshot: Snapshot) -> Iterator[Finding]:
    """The sealed-secrets controller cannot open a registry's SealedSecret, or does not run.

    It was sealed for another cluster's key, for another name or namespace, or the controller's key was lost
    (https://github.com/bitnami-labs/sealed-secrets#usage).
    """
    for registry in snapshot.config.registries:
        item = sealed_secret(snapshot, registry) if registry.sealed else None
        if item is not None and opening(item)[0] != "True":
            yield _unopened(snapshot, registry, item)


def _unopened(snapshot: Snapshot, registry: Registry, item: Mapping[str, Any]) -> Finding:
    status, message = opening(item)
    place = f"SealedSecret {registry.name!r} in namespace {snapshot.config.eso.namespace!r}"
    seal = f"pull-secrets seal {registry.name} --stack {snapshot.stack} --again --certificate cert.pem --from-file FILE"
    refused = status == "False"
    return Finding(
        severity=Severity.CLUSTER,
        symptom="No namespace receives a new credential; new namespaces receive none.",
        cause=f"The controller cannot open {place}." if refused else f"No controller has reconciled {place}.",
        evidence=(f"{place}: Synced={status}: {redact(message)}",),
        fix=("kubeseal --fetch-cert > cert.pem", seal, up_command(snapshot))
        if refused
        else ("kubectl get pods -A -l app.kubernetes.io/name=sealed-secrets",),
        prevention="Back the controller's keys up, and seal for the cluster that the file is declared in.",
        registry=registry.name,
    )

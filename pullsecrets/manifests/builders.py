"""The one definition of each Kubernetes object: pure builders that return plain objects.

Components hand them to Pulumi, `render` writes them as YAML, policies and lint judge the same shapes.
"""

import base64
import builtins
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from pullsecrets.config.model import ApiServer, Eso, Registry, StackConfig, VaultAuth, VaultStore
from pullsecrets.config.tenants import Tenant
from pullsecrets.credential.document import DIGEST_LENGTH
from pullsecrets.durations import canonical_duration
from pullsecrets.kube.eso_versions import parse_version, reference_defaults
from pullsecrets.kube.marks import (
    CONTENT_DIGEST_ANNOTATION,
    PULL_SECRET_KEY,
    PULL_SECRET_TYPE,
    STANDARD_LABELS,
    SYNC_WAVE_ANNOTATION,
)
from pullsecrets.kube.objects import KubernetesObject

CONTENT_DIGEST_TEMPLATE = f"{{{{ .dockerconfigjson | sha256sum | trunc {DIGEST_LENGTH} }}}}"
"""ESO template of the digest; `document.content_digest` computes the same."""

NETWORK_POLICY_SYNC_WAVE = 40
STORE_SYNC_WAVE = 44


def named_alike(spec: type[Any], section: object, **others: Any) -> dict[str, Any]:
    """Return the values of a specification's fields that a section of the configuration has by the same name.

    Args:
        section: a part of the configuration.
        others: values in the place of the section's, and of fields that it does not have.
    """
    return {item.name: getattr(section, item.name) for item in fields(spec) if hasattr(section, item.name)} | others


# What a component's optional inputs are by default is what a stack file's keys are.
_ESO, _AUTH = Eso(), VaultAuth()


@dataclass(frozen=True)
class EgressSpec:
    """What ESO's egress rule is made of; the arguments of the `EsoEgress` component."""

    name: str
    vault_port: int
    namespace: str = _ESO.namespace
    pod_labels: Mapping[str, str] = field(default_factory=lambda: _ESO.pod_labels)
    vault_cidrs: Sequence[str] = ()
    vault_namespace_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    api_server_cidrs: Sequence[str] = ()
    api_server_port: int = ApiServer().port
    distribution: str = _ESO.distribution

    @classmethod
    def of(cls, config: StackConfig) -> Self:
        """Take the values from a stack's configuration."""
        egress, api_server = config.vault.egress, config.cluster.api_server
        return cls(
            **named_alike(cls, config.eso),
            name=config.eso.network_policy,
            vault_cidrs=egress.cidrs if egress else (),
            vault_namespace_labels=(egress and egress.namespace_selector) or {},
            vault_port=config.vault.port,
            api_server_cidrs=api_server.cidrs,
            api_server_port=api_server.port,
        )


@dataclass(frozen=True)
class StoreSpec:
    """What a store that reads Vault is made of; the arguments of the `VaultClusterSecretStore` component."""

    name: str
    server: str
    auth_mount: str
    role: str
    mount: str = "secret"
    ca_bundle: str | None = None
    audiences: Sequence[str] = (_AUTH.audience, _AUTH.api_audience)
    namespace: str = _ESO.namespace
    service_account: str = _ESO.service_account
    selector: Mapping[str, str] | None = None
    """The opt-in label that opens the store; None for a relay's, which ESO's own namespace alone may use."""

    @classmethod
    def of(cls, config: StackConfig, store: VaultStore) -> Self:
        """Take the values from a stack's configuration."""
        vault = config.vault
        registry = store.registries[0]
        return cls(
            name=store.name,
            server=vault.address,
            mount=vault.mount,
            ca_bundle=base64.b64encode(vault.ca_bundle.encode()).decode() if vault.ca_bundle else None,
            auth_mount=vault.auth.mount,
            role=store.role,
            audiences=(vault.auth.audience, vault.auth.api_audience),
            namespace=config.eso.namespace,
            service_account=config.eso.service_account,
            selector=None if registry.relayed else registry.selector,
        )


@dataclass(frozen=True)
class ReviewerSpec:
    """What the token reviewer's binding is made of."""

    name: str
    namespace: str
    service_account: str

    @classmethod
    def of(cls, config: StackConfig) -> Self:
        """Take the values from a stack's configuration; every store logs in with the same ServiceAccount."""
        return cls(f"{config.eso.store}-token-reviewer", config.eso.namespace, config.eso.service_account)


@dataclass(frozen=True)
class RelaySpec:
    """What a relayed registry has in ESO's namespace: its Secret, and a store that can read that one alone."""

    name: str
    """Of the store, and of the ServiceAccount, Role and RoleBinding by which it reads."""
    namespace: str
    server: str


@dataclass(frozen=True)
class PullSecretSpec:
    """What a registry's fan-out is made of; the arguments of the `RegistryPullSecret` component."""

    name: str
    path: str
    selector: Mapping[str, str]
    store: str
    property: str = Registry.model_fields["property"].default
    refresh: str = Registry.model_fields["refresh"].default
    sync_wave: int = Registry.model_fields["sync_wave"].default
    eso_version: str | None = None
    relay: RelaySpec | None = None

    @classmethod
    def of(cls, config: StackConfig, registry: Registry) -> Self:
        """Take the values from a stack's configuration."""
        relay = RelaySpec(config.relay_store(registry), config.eso.namespace, config.cluster.api_server.url)
        others = {"store": config.store_of(registry), "eso_version": config.eso.version}
        return cls(**named_alike(cls, registry, relay=relay if registry.relayed else None, **others))

    # By its full name: here `property` is a field.
    @builtins.property
    def read_by(self) -> str:
        """The store that the namespaces read through."""
        return self.relay.name if self.relay else self.store

    @builtins.property
    def relayed_by(self) -> RelaySpec:
        """The relay of a registry that has one."""
        if self.relay is None:
            raise TypeError(f"registry {self.name!r} is not relayed")
        return self.relay


def namespace(name: str, labels: Mapping[str, str], annotations: Mapping[str, str] | None = None) -> KubernetesObject:
    """Return a Namespace with these labels and annotations and no others."""
    metadata: dict[str, Any] = {"name": name, "labels": dict(labels)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def tenant_namespace(tenant: Tenant) -> KubernetesObject:
    """Return the whole Namespace of a tenant, or our part of one that is adopted: its opt-in and declared labels."""
    standard = {} if tenant.adopt else STANDARD_LABELS
    return namespace(tenant.name, {**standard, **tenant.labels}, tenant.annotations)


def egress(spec: EgressSpec) -> KubernetesObject:
    """Return the object that opens ESO's egress on its distribution of ESO."""
    return _redhat_egress(spec) if spec.distribution == "redhat" else _network_policy(spec)


def egress_rules(spec: EgressSpec) -> list[dict[str, Any]]:
    """Return the egress that ESO needs: Vault, DNS and the Kubernetes API server.

    DNS is allowed on 5353 as well as 53, and the API server on its own port, because OVN-Kubernetes judges egress
    after the Service address was replaced by the Pod's.
    """
    to_vault = _ip_blocks(spec.vault_cidrs)
    if spec.vault_namespace_labels:
        to_vault = [{"namespaceSelector": {"matchLabels": dict(spec.vault_namespace_labels)}}]
    api_rule: dict[str, Any] = {"ports": _ports(("TCP", spec.api_server_port))}
    if spec.api_server_cidrs:
        api_rule["to"] = _ip_blocks(spec.api_server_cidrs)
    return [
        {"to": to_vault, "ports": _ports(("TCP", spec.vault_port))},
        {"ports": _ports(("UDP", 53), ("TCP", 53), ("UDP", 5353), ("TCP", 5353))},
        api_rule,
    ]


def _network_policy(spec: EgressSpec) -> KubernetesObject:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(spec.name, NETWORK_POLICY_SYNC_WAVE, spec.namespace),
        "spec": {
            "podSelector": {"matchLabels": dict(spec.pod_labels)},
            "policyTypes": ["Egress"],
            "egress": egress_rules(spec),
        },
    }


def _redhat_egress(spec: EgressSpec) -> KubernetesObject:
    """Return our entry in the configuration of Red Hat's ESO operator, which owns all NetworkPolicies there.

    The operator prefixes the name with `eso-user-`; entries merge by name and component
    (operator.openshift.io/v1alpha1, ExternalSecretsConfig `spec.controllerConfig.networkPolicies`).
    """
    entry = {"name": spec.name, "componentName": "ExternalSecretsCoreController", "egress": egress_rules(spec)}
    return {
        "apiVersion": "operator.openshift.io/v1alpha1",
        "kind": "ExternalSecretsConfig",
        "metadata": {"name": "cluster"},
        "spec": {"controllerConfig": {"networkPolicies": [entry]}},
    }


def token_reviewer_binding(spec: ReviewerSpec) -> KubernetesObject:
    """Return the binding that lets Vault review ESO's own token with that same token.

    With it Vault keeps no long-lived reviewer token, so none passes through Pulumi state
    (https://developer.hashicorp.com/vault/docs/auth/kubernetes, "Use the Vault client's JWT as the reviewer JWT").
    """
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": spec.name, "labels": dict(STANDARD_LABELS)},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"kind": "ServiceAccount", "name": spec.service_account, "namespace": spec.namespace}],
    }


def cluster_secret_store(spec: StoreSpec) -> KubernetesObject:
    """Return a store that reads Vault, usable only from namespaces that carry its opt-in label."""
    account = {"name": spec.service_account, "namespace": spec.namespace, "audiences": list(spec.audiences)}
    login = {"mountPath": spec.auth_mount, "role": spec.role, "serviceAccountRef": account}
    provider: dict[str, Any] = {
        "server": spec.server,
        "path": spec.mount,
        # Numbers pass through the engine as floats.
        "version": "v2",
        "auth": {"kubernetes": login},
    }
    if spec.ca_bundle:
        provider["caBundle"] = spec.ca_bundle
    opened_by: dict[str, Any] = {"namespaces": [spec.namespace]}
    if spec.selector is not None:
        opened_by = {"namespaceSelector": {"matchLabels": dict(spec.selector)}}
    return _store(spec.name, STORE_SYNC_WAVE, opened_by, {"vault": provider})


def cluster_external_secret(spec: PullSecretSpec) -> KubernetesObject:
    """Return the object that fans one registry's Secret out to every namespace with the opt-in label."""
    source = (spec.relay.name, spec.name, PULL_SECRET_KEY) if spec.relay else (spec.store, spec.path, spec.property)
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ClusterExternalSecret",
        "metadata": _metadata(spec.name, spec.sync_wave),
        "spec": {
            "externalSecretName": spec.name,
            "refreshTime": canonical_duration(spec.refresh),
            "namespaceSelectors": [{"matchLabels": dict(spec.selector)}],
            "externalSecretSpec": _read(spec, *source),
        },
    }


def relay_external_secret(spec: PullSecretSpec) -> KubernetesObject:
    """Return the one object that reads a relayed registry from Vault, into ESO's own namespace."""
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": _metadata(spec.name, spec.sync_wave - 1, spec.relayed_by.namespace),
        "spec": _read(spec, spec.store, spec.path, spec.property),
    }


def relay_reader(spec: PullSecretSpec) -> list[KubernetesObject]:
    """Return the ServiceAccount by which a relay's store reads, and the right to read that one Secret.

    ESO's own ServiceAccount reads every Secret of the cluster: with it, anyone who may use the store could read all of
    ESO's namespace (https://github.com/external-secrets/external-secrets/issues/4721).
    """
    relay = spec.relayed_by
    metadata = _metadata(relay.name, spec.sync_wave - 1, relay.namespace)
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [spec.name], "verbs": ["get"]}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": relay.name},
            "subjects": [{"kind": "ServiceAccount", "name": relay.name, "namespace": relay.namespace}],
        },
    ]


def relay_store(spec: PullSecretSpec) -> KubernetesObject:
    """Return the store through which namespaces with the registry's opt-in label read its relayed Secret."""
    relay = spec.relayed_by
    certificates = {"type": "ConfigMap", "name": "kube-root-ca.crt", "key": "ca.crt", "namespace": relay.namespace}
    provider = {
        "remoteNamespace": relay.namespace,
        "server": {"url": relay.server, "caProvider": certificates},
        "auth": {"serviceAccount": {"name": relay.name, "namespace": relay.namespace}},
    }
    opened_by = {"namespaceSelector": {"matchLabels": dict(spec.selector)}}
    return _store(relay.name, spec.sync_wave - 1, opened_by, {"kubernetes": provider})


def _store(name: str, sync_wave: int, opened_by: Mapping[str, Any], provider: Mapping[str, Any]) -> KubernetesObject:
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ClusterSecretStore",
        "metadata": _metadata(name, sync_wave),
        "spec": {"conditions": [opened_by], "provider": provider},
    }


def _metadata(name: str, sync_wave: int, namespace: str | None = None) -> dict[str, Any]:
    place = {"namespace": namespace} if namespace else {}
    annotations = {SYNC_WAVE_ANNOTATION: str(sync_wave)}
    return {"name": name, **place, "labels": dict(STANDARD_LABELS), "annotations": annotations}


def vault_read_policy(mount: str, path: str) -> str:
    """Return the Vault policy that lets ESO read one registry's path and nothing else."""
    rules = {f"{mount}/{part}/{path}": {"capabilities": ["read"]} for part in ("data", "metadata")}
    return json.dumps({"path": rules}, indent=2, sort_keys=True)


def _read(spec: PullSecretSpec, store: str, key: str, field: str) -> dict[str, Any]:
    """Return the specification of an ExternalSecret that reads one key, spelled as the API server gives it back.

    Argo CD shows drift forever where defaults that the CRD adds inside a list are left out, or where a duration is not
    spelled as ESO writes it (ESO issues 5895 and 5390).
    """
    defaults = reference_defaults(parse_version(spec.eso_version or ""))
    return {
        "refreshInterval": canonical_duration(spec.refresh),
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": store},
        "target": _target(spec.name),
        "data": [{"secretKey": "dockerconfigjson", "remoteRef": {"key": key, "property": field, **defaults}}],
    }


def _target(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "creationPolicy": "Owner",
        # Losing Vault must never take the pull Secrets of running tenants away.
        "deletionPolicy": "Retain",
        "template": {
            "type": PULL_SECRET_TYPE,
            "metadata": {"annotations": {CONTENT_DIGEST_ANNOTATION: CONTENT_DIGEST_TEMPLATE}},
            "data": {PULL_SECRET_KEY: "{{ .dockerconfigjson }}"},
        },
    }


def owner(project: str, stack: str) -> str:
    """Return how an object says which stack owns it."""
    return f"{project}/{stack}"


def vault_policy_name(config: StackConfig, registry: Registry) -> str:
    """Return the name of the Vault policy that reads one registry's path."""
    return f"pull-secrets-{config.cluster.name}-{registry.name}"


def _ip_blocks(cidrs: Iterable[str]) -> list[dict[str, Any]]:
    return [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]


def _ports(*ports: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"protocol": protocol, "port": port} for protocol, port in ports]

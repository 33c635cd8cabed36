"""What counts as a write to the cluster pull-secret, object by object."""

import base64
import gzip
import json
import posixpath
import textwrap
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets import guard
from pullsecrets.data import UNKNOWN
from pullsecrets.guard import Answer
from pullsecrets.guard.kinds import SECRET_WRITERS

PULL_SECRET = "Secret openshift-config/pull-secret"
AUTH_FILE = "/var/lib/kubelet/config.json"
ESO = "external-secrets.io/v1"
RBAC = "rbac.authorization.k8s.io/v1"
ADMISSION = "admissionregistration.k8s.io/v1"


def item(version: str, kind: str, namespace: Any = None, name: Any = "x", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace is not None else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def secret(namespace: Any, name: Any, **annotations: str) -> dict[str, Any]:
    made = item("v1", "Secret", namespace, name)
    if annotations:
        made["metadata"]["annotations"] = {key.replace("__", "/"): value for key, value in annotations.items()}
    return made


def written(found: dict[str, Any], namespace: Any = None, *, patch: bool = False) -> set[str]:
    """What is refused."""
    return {write.what for write in guard.find_writes(found, namespace, patch=patch) if write.is_refused}


def possible(found: dict[str, Any], namespace: Any = None) -> set[str]:
    """What is advised on, because something decides that does not stand there."""
    return {write.what for write in guard.find_writes(found, namespace) if not write.is_refused}


def mentioned(found: dict[str, Any], namespace: Any = None) -> set[str]:
    return set(guard.find_mentions(found, namespace))


def paths(found: dict[str, Any]) -> list[str]:
    return [".".join(map(str, write.path)) for write in guard.find_writes(found)]


def of_cluster(found: dict[str, Any]) -> tuple[str, str] | None:
    """How sure it is that an object writes the cluster's own pull-secret, and where that is said; None for not."""
    writes = [write for write in guard.find_writes(found) if write.what == PULL_SECRET]
    assert len(writes) < 2
    return (writes[0].answer.name, ".".join(map(str, writes[0].path))) if writes else None


# Identity.


@pytest.mark.parametrize(
    ("namespace", "name", "what"),
    [
        ("openshift-config", "pull-secret", PULL_SECRET),
        ("kube-system", "additional-pull-secret", "Secret kube-system/additional-pull-secret"),
        ("kube-system", "global-pull-secret", "Secret kube-system/global-pull-secret"),
        ("kube-system", "original-pull-secret", "Secret kube-system/original-pull-secret"),
    ],
)
def test_the_guarded_secrets_are_written_by_their_identity(namespace: str, name: str, what: str) -> None:
    (write,) = guard.find_writes(secret(namespace, name))
    assert (write.what, write.path, write.answer) == (what, ("metadata", "name"), Answer.CERTAIN)


def test_image_config_is_guarded_whatever_its_version() -> None:
    assert written(item("config.openshift.io/v1", "Image", name="cluster")) == {"image.config.openshift.io/cluster"}
    assert written(item("config.openshift.io/v1alpha1", "Image", name="cluster"))
    assert not written(item("image.openshift.io/v1", "Image", name="cluster"))


@pytest.mark.parametrize(
    ("namespace", "name"),
    [("team-a", "pull-secret"), ("openshift-config", "other"), ("kube-system", "pull-secret"), ("team-a", UNKNOWN)],
)
def test_other_secrets_are_not_guarded(namespace: str, name: Any) -> None:
    assert not written(secret(namespace, name))


@pytest.mark.parametrize(
    ("namespace", "name", "answer"),
    [
        (UNKNOWN, "pull-secret", Answer.UNKNOWN),
        ("openshift-config", UNKNOWN, Answer.UNKNOWN),
        (UNKNOWN, UNKNOWN, Answer.UNKNOWN),
        (None, "pull-secret", Answer.POSSIBLE),
        (None, UNKNOWN, Answer.POSSIBLE),
        ("openshift-config", "{{ .Values.name }}", Answer.POSSIBLE),
        ("${NAMESPACE}", "pull-secret", Answer.POSSIBLE),
        ("openshift-config", "${APP}-secret", Answer.POSSIBLE),
    ],
)
def test_an_unknown_identity_is_refused_and_one_that_is_decided_elsewhere_is_advice(
    namespace: Any, name: Any, answer: Answer
) -> None:
    writes = [write for write in guard.find_writes(secret(namespace, name)) if write.what == PULL_SECRET]
    assert [write.answer for write in writes] == [answer]


def test_a_placeholder_that_cannot_become_the_guarded_name_is_harmless() -> None:
    assert not written(secret(None, "${APP}-registry"))


def test_metadata_that_is_not_known_at_all_could_be_any_guarded_secret() -> None:
    found = {"apiVersion": "v1", "kind": "Secret", "metadata": UNKNOWN}
    assert len(written(found)) == 4


def test_the_providers_namespace_counts_where_the_object_names_none() -> None:
    assert written(secret(None, "pull-secret"), "openshift-config") == {PULL_SECRET}
    assert written(secret(None, "pull-secret"), "team-a") == set()
    assert written(secret(None, "pull-secret"), UNKNOWN) == {PULL_SECRET}


names = st.sampled_from(["pull-secret", "global-pull-secret", "openshift-config", "kube-system", "team-a", "x"])
values = st.one_of(names, st.text(max_size=12))


@given(values, values)
def test_a_known_identity_is_a_write_exactly_when_it_is_a_guarded_one(namespace: str, name: str) -> None:
    guarded = {(found.namespace, found.name) for found in guard.GUARDED_OBJECTS if found.kind == "Secret"}
    if namespace and "{" not in namespace + name and "$" not in namespace + name:
        assert bool(written(secret(namespace, name))) == ((namespace, name) in guarded)


@given(names, names, st.sampled_from(["namespace", "name"]))
def test_knowing_less_never_rules_a_write_out(namespace: str, name: str, hidden: str) -> None:
    known = secret(namespace, name)
    less = {**known, "metadata": {**known["metadata"], hidden: UNKNOWN}}
    assert written(known) <= written(less)


# fmt: off
FIELDS = [
    "apiGroups", "data", "items", "kind", "metadata", "name", "namespace", "patches", "path",
    "resources", "roleRef", "rules", "spec", "target", "verbs", "webhooks",
]
# fmt: on
json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.just(UNKNOWN), names),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "kind",
                    "metadata",
                    "spec",
                    "items",
                    "name",
                    "namespace",
                    "target",
                    "data",
                    "path",
                    "rules",
                    "webhooks",
                    "roleRef",
                    "verbs",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
kinds = st.sampled_from(
    [
        *((f"{writer.group}/v1", writer.kind) for writer in SECRET_WRITERS),
        ("v1", "Secret"),
        ("v1", "List"),
        ("v1", "SecretList"),
        ("v1", "ConfigMap"),
        ("v1", "Pod"),
        (ESO, "ExternalSecret"),
        (ESO, "ClusterExternalSecret"),
        ("external-secrets.io/v1alpha1", "PushSecret"),
        ("bitnami.com/v1alpha1", "SealedSecret"),
        ("machineconfiguration.openshift.io/v1", "MachineConfig"),
        ("hypershift.openshift.io/v1beta1", "HostedCluster"),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization"),
        ("kyverno.io/v1", "ClusterPolicy"),
        ("velero.io/v1", "Restore"),
        (RBAC, "Role"),
        (RBAC, "ClusterRoleBinding"),
        (ADMISSION, "MutatingAdmissionPolicy"),
        (ADMISSION, "MutatingWebhookConfiguration"),
        ("clustersecret.io/v1", "ClusterSecret"),
    ]
)


@given(
    kinds,
    st.dictionaries(st.sampled_from(FIELDS), json_like),
)
def test_objects_of_any_shape_are_judged_without_an_error(kind: tuple[str, str], fields: dict[str, Any]) -> None:
    for write in guard.find_writes({"apiVersion": kind[0], "kind": kind[1], **fields}):
        assert str(write)
    guard.find_mentions({"apiVersion": kind[0], "kind": kind[1], **fields})


# Lists and objects inside objects.


def test_each_object_of_a_list_is_judged_and_found_again() -> None:
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [secret("a", "b"), secret("openshift-config", "pull-secret")],
    }
    assert paths(listed) == ["items.1.metadata.name"]


def test_objects_inside_a_custom_resource_are_judged() -> None:
    work = item(
        "work.open-cluster-management.io/v1",
        "ManifestWork",
        "cluster-a",
        spec={"workload": {"manifests": [secret("openshift-config", "pull-secret")]}},
    )
    assert paths(work) == ["spec.workload.manifests.0.metadata.name"]


def test_objects_inside_objects_are_each_judged_once_however_deep_they_stand() -> None:
    found = secret("openshift-config", "pull-secret")
    for number in range(60):
        found = item("example.com/v1", "Wrapper", "a", f"w{number}", spec={"object": found})
    assert len(guard.find_writes(found)) == 1


def test_what_a_policy_only_looks_at_is_no_object_that_it_writes() -> None:
    template = {"objectDefinition": secret("openshift-config", "pull-secret")}
    for action, count in (("enforce", 1), ("inform", 0)):
        spec = {"remediationAction": action, "object-templates": [template]}
        found = item("policy.open-cluster-management.io/v1", "ConfigurationPolicy", "a", spec=spec)
        assert len(written(found)) == count
        assert mentioned(found) == {PULL_SECRET}


def kyverno(**rule: Any) -> dict[str, Any]:
    return item("kyverno.io/v1", "ClusterPolicy", spec={"rules": [rule]})


def test_what_kyverno_generates_and_changes_is_judged_and_what_it_matches_is_not() -> None:
    target = {"apiVersion": "v1", "kind": "Secret", "name": "pull-secret", "namespace": "openshift-config"}
    assert written(kyverno(mutate={"targets": [target]})) == {PULL_SECRET}
    assert written(kyverno(generate={**target, "clone": {"namespace": "a", "name": "b"}})) == {PULL_SECRET}
    assert possible(kyverno(generate={**target, "namespace": "{{request.namespace}}"})) == {PULL_SECRET}
    reading = kyverno(generate={**target, "namespace": "a", "clone": {"namespace": "openshift-config", "name": "b"}})
    assert written(reading) == possible(reading) == set()
    assert mentioned(reading) == {PULL_SECRET}


# What controllers make of other objects.


@pytest.mark.parametrize(
    ("version", "kind", "spec", "path"),
    [
        (ESO, "ExternalSecret", {"target": {"name": "pull-secret"}}, "spec.target.name"),
        ("cert-manager.io/v1", "Certificate", {"secretName": "pull-secret"}, "spec.secretName"),
        (
            "secrets.hashicorp.com/v1beta1",
            "VaultStaticSecret",
            {"destination": {"name": "pull-secret"}},
            "spec.destination.name",
        ),
        (
            "isindir.github.com/v1alpha3",
            "SopsSecret",
            {"secretTemplates": [{"name": "a"}, {"name": "pull-secret"}]},
            "spec.secretTemplates.1.name",
        ),
        (
            "secrets-store.csi.x-k8s.io/v1",
            "SecretProviderClass",
            {"secretObjects": [{"secretName": "pull-secret"}]},
            "spec.secretObjects.0.secretName",
        ),
    ],
)
def test_kinds_that_write_secrets_are_judged_by_the_secret(
    version: str, kind: str, spec: dict[str, Any], path: str
) -> None:
    assert paths(item(version, kind, "openshift-config", spec=spec)) == [path]
    # Whoever applies it says where.
    assert written(item(version, kind, spec=spec)) == set()
    assert paths(item(version, kind, "team-a", spec=spec)) == []


def test_an_external_secret_with_another_kind_of_target_is_judged_by_that_kind() -> None:
    spec = {"target": {"name": "cluster", "manifest": {"apiVersion": "config.openshift.io/v1", "kind": "Image"}}}
    assert "image.config.openshift.io/cluster" in written(item(ESO, "ExternalSecret", "a", spec=spec))


def cluster_external_secret(target: Any, **spec: Any) -> dict[str, Any]:
    return item(ESO, "ClusterExternalSecret", spec={"externalSecretSpec": {"target": {"name": target}}, **spec})


OWN_LABEL = "kubernetes.io/metadata.name"


@pytest.mark.parametrize(
    "spec",
    [
        {"namespaceSelectors": [{}]},
        {"namespaceSelector": {}},
        {"namespaceSelectors": UNKNOWN},
        {"namespaces": ["team-a", "openshift-config"]},
        {"namespaces": [UNKNOWN]},
        {"namespaceSelectors": [{"matchLabels": {OWN_LABEL: "openshift-config"}}]},
        {"namespaceSelectors": [{"matchExpressions": [{"key": OWN_LABEL, "operator": "NotIn", "values": ["a"]}]}]},
        {"namespaceSelectors": [{"matchExpressions": [{"key": OWN_LABEL, "operator": "Exists"}]}]},
        {
            "namespaceSelectors": [
                {"matchExpressions": [{"key": OWN_LABEL, "operator": "In", "values": ["a", "openshift-config"]}]}
            ]
        },
    ],
)
def test_a_cluster_external_secret_that_selects_the_namespace_is_refused(spec: dict[str, Any]) -> None:
    assert PULL_SECRET in written(cluster_external_secret("pull-secret", **spec))


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"apps.platform/tenant": "true"}},
        {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
        {"matchLabels": {OWN_LABEL: "openshift-config", "team": "a"}},
    ],
)
def test_one_that_selects_by_a_label_that_can_be_put_on_is_advice(selector: dict[str, Any]) -> None:
    found = cluster_external_secret("pull-secret", namespaceSelectors=[selector])
    assert (written(found), possible(found)) == (set(), {PULL_SECRET})


@pytest.mark.parametrize(
    "spec",
    [
        {"namespaces": ["team-a"]},
        {"namespaceSelectors": [{"matchLabels": {OWN_LABEL: "team-a"}}]},
        {"namespaceSelectors": [{"matchExpressions": [{"key": OWN_LABEL, "operator": "In", "values": ["a", "b"]}]}]},
        {"namespaceSelectors": [{"matchExpressions": [{"key": OWN_LABEL, "operator": "DoesNotExist"}]}]},
        {
            "namespaceSelectors": [
                {"matchExpressions": [{"key": OWN_LABEL, "operator": "NotIn", "values": ["openshift-config"]}]}
            ]
        },
        {},
    ],
)
def test_a_cluster_external_secret_that_names_its_namespaces_cannot(spec: dict[str, Any]) -> None:
    found = cluster_external_secret("pull-secret", **spec)
    assert written(found) == possible(found) == set()


@pytest.mark.parametrize(("namespace", "refused"), [("openshift-config", {PULL_SECRET}), ("team-a", set[str]())])
def test_connection_details_are_written_where_their_reference_says(namespace: str, refused: set[str]) -> None:
    reference = {"name": "pull-secret", "namespace": namespace}
    assert written(item("example.org/v1", "Database", spec={"writeConnectionSecretToRef": reference})) == refused


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({}, {PULL_SECRET}),
        ({"matchNamespace": ["team-.*", "openshift-"]}, {PULL_SECRET}),
        ({"matchNamespace": UNKNOWN}, {PULL_SECRET}),
        ({"matchNamespace": ["team-.*"]}, set[str]()),
    ],
)
def test_a_cluster_secret_is_copied_where_its_patterns_match(fields: dict[str, Any], refused: set[str]) -> None:
    assert written(item("clustersecret.io/v1", "ClusterSecret", name="pull-secret", **fields)) == refused
    assert written(item("clustersecret.io/v1", "ClusterSecret", name="another", **fields)) == set()


@pytest.mark.parametrize(
    "annotations",
    [
        {
            "reflector.v1.k8s.emberstack.com__reflection-auto-enabled": "true",
            "reflector.v1.k8s.emberstack.com__reflection-auto-namespaces": "a,openshift-.*",
        },
        {"reflector.v1.k8s.emberstack.com__reflection-auto-enabled": "true"},
        {"replicator.v1.mittwald.de__replicate-to": "openshift-config"},
        {"kubed.appscode.com__sync": ""},
    ],
)
def test_a_secret_of_that_name_that_is_copied_there_is_refused(annotations: dict[str, str]) -> None:
    assert PULL_SECRET in written(secret("team-a", "pull-secret", **annotations))
    assert written(secret("team-a", "registry", **annotations)) == set()


@pytest.mark.parametrize(
    "annotations",
    [
        {"replicator.v1.mittwald.de__replicate-to-matching": "team=a"},
        {"kubed.appscode.com__sync": "team=a"},
        {"replicator.v1.mittwald.de__replicate-to": "("},
        {"replicator.v1.mittwald.de__replicate-to": "${NAMESPACES}"},
    ],
)
def test_one_that_is_copied_by_labels_could_land_there(annotations: dict[str, str]) -> None:
    found = secret("team-a", "pull-secret", **annotations)
    assert (written(found), PULL_SECRET in possible(found)) == (set(), True)


def test_copies_that_stay_among_teams_are_harmless() -> None:
    annotations = {
        "reflector.v1.k8s.emberstack.com__reflection-auto-enabled": "true",
        "reflector.v1.k8s.emberstack.com__reflection-allowed-namespaces": "team-.*",
    }
    assert written(secret("team-a", "pull-secret", **annotations)) == set()


def test_annotations_that_eso_renders_could_copy_the_secret_on() -> None:
    template = {"templateFrom": [{"target": "Annotations", "literal": "a: b"}]}
    spec = {"target": {"name": "pull-secret", "template": template}}
    assert PULL_SECRET in possible(item(ESO, "ExternalSecret", "team-a", spec=spec))


def bundle(**target: Any) -> dict[str, Any]:
    return item("trust.cert-manager.io/v1alpha1", "Bundle", name="pull-secret", spec={"target": target})


def restore(**spec: Any) -> dict[str, Any]:
    return item("velero.io/v1", "Restore", "velero", spec=spec)


def kustomization(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **fields}


def push_secret(**spec: Any) -> dict[str, Any]:
    return item("external-secrets.io/v1alpha1", "PushSecret", "team-a", spec=spec)


def fan_out(name: str = "x", **spec: Any) -> dict[str, Any]:
    return item(ESO, "ClusterExternalSecret", name=name, spec={"namespaceSelectors": [{}], **spec})


def pushed(key: str) -> list[dict[str, Any]]:
    return [{"match": {"remoteRef": {"remoteKey": key}}}]


def secrets(*items: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "SecretList", "items": list(items)}


CLONED = {"namespace": "openshift-config", "cloneList": {"namespace": "a", "kinds": ["v1/ConfigMap", "v1/Secret"]}}
THERE, KEPT = {"name": "pull-secret", "namespace": "openshift-config"}, {"disableNameSuffixHash": True}
COPIED_BY_UNKNOWN = ("UNKNOWN", "metadata.annotations")
REFLECTOR = "reflector.v1.k8s.emberstack.com__reflection-auto-"
TO_PATCH = {"target": {"kind": "Secret", "name": "pull-secret"}, "patch": "[]"}


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (secrets({"metadata": THERE}), ("CERTAIN", "items.0.metadata.name")),
        (secrets({"metadata": {"name": "a"}}, UNKNOWN), ("UNKNOWN", "items.1.metadata.name")),
        ({**secrets(), "items": UNKNOWN}, ("UNKNOWN", "items.metadata.name")),
        (item(ESO, "ExternalSecret", "openshift-config", "pull-secret", spec={}), ("CERTAIN", "metadata.name")),
        (item(ESO, "ExternalSecret", "openshift-config", "pull-secret", spec={"target": {"name": "other"}}), None),
        (fan_out(externalSecretSpec={"target": {"name": "app"}}), None),
        (fan_out("pull-secret", externalSecretSpec={}), ("CERTAIN", "metadata.name")),
        (fan_out(externalSecretName="pull-secret", externalSecretSpec={}), ("CERTAIN", "spec.externalSecretName")),
        (
            fan_out("pull-secret", externalSecretName="b", externalSecretSpec={"target": {"name": "pull-secret"}}),
            ("CERTAIN", "spec.externalSecretSpec.target.name"),
        ),
        (fan_out("pull-secret", externalSecretName="b", externalSecretSpec={}), None),
        ({**fan_out(), "spec": UNKNOWN}, ("UNKNOWN", "spec")),
        ({**secret("a", "x"), "metadata": {**THERE, "namespace": "a", "annotations": UNKNOWN}}, COPIED_BY_UNKNOWN),
        (secret("a", "pull-secret", **{f"{REFLECTOR}enabled": "true", f"{REFLECTOR}namespaces": "team-.*"}), None),
        # The SealedSecret's own identity is what its controller goes by.
        (
            item("bitnami.com/v1alpha1", "SealedSecret", **THERE, spec={"template": {"metadata": {"name": "x"}}}),
            ("CERTAIN", "metadata.name"),
        ),
        # The store decides whether that is a Secret at all, and where.
        (push_secret(data=pushed("pull-secret")), ("POSSIBLE", "spec.data.0.match.remoteRef.remoteKey")),
        (push_secret(data=pushed("other")), None),
        (push_secret(dataTo=[{"remoteKey": "other"}, {"remoteKey": "pull-secret"}]), ("POSSIBLE", "spec.dataTo.1")),
        (push_secret(dataTo=[{}]), ("POSSIBLE", "spec.dataTo.0")),
        (
            item(
                "external-secrets.io/v1alpha1",
                "ClusterPushSecret",
                spec={"pushSecretSpec": {"data": pushed("pull-secret")}},
            ),
            ("POSSIBLE", "spec.pushSecretSpec.data.0.match.remoteRef.remoteKey"),
        ),
        (bundle(secret={}), ("CERTAIN", "metadata.name")),
        (bundle(configMap={}), None),
        (bundle(secret={}, namespaceSelector={"matchLabels": {"a": "b"}}), ("POSSIBLE", "metadata.name")),
        (bundle(secret={}, namespaceSelector={"matchLabels": {OWN_LABEL: "team-a"}}), None),
        (restore(), ("POSSIBLE", "spec")),
        (restore(includedNamespaces=["a", "*"]), ("POSSIBLE", "spec")),
        (restore(includedNamespaces=UNKNOWN), ("POSSIBLE", "spec")),
        (restore(includedNamespaces=["a", "openshift-config"]), ("POSSIBLE", "spec")),
        (restore(includedNamespaces=["a", "b"]), None),
        # By labels: it could be the guarded one.
        (kyverno(generate=CLONED), ("POSSIBLE", "spec.rules.0.generate.cloneList")),
        (kyverno(generate={**CLONED, "namespace": "team-a"}), None),
        (kyverno(generate={**CLONED, "cloneList": {"kinds": ["v1/ConfigMap"]}}), None),
        # A generated name ends in a hash, unless that is switched off or it merges.
        (kustomization(secretGenerator=[THERE]), None),
        (kustomization(secretGenerator=[{**THERE, "behavior": "create"}]), None),
        (kustomization(secretGenerator=[{**THERE, "behavior": "merge"}]), ("CERTAIN", "secretGenerator.0.name")),
        (kustomization(secretGenerator=[THERE], generatorOptions=KEPT), ("CERTAIN", "secretGenerator.0.name")),
        (
            kustomization(namespace="openshift-config", secretGenerator=[{"name": "pull-secret", "options": KEPT}]),
            ("CERTAIN", "secretGenerator.0.name"),
        ),
        (
            kustomization(
                namePrefix="pull-",
                nameSuffix="et",
                secretGenerator=[{**THERE, "name": "secr", "behavior": "replace"}],
            ),
            ("CERTAIN", "secretGenerator.0.name"),
        ),
        (kustomization(patches=[TO_PATCH]), ("POSSIBLE", "patches.0.target.name")),
        (kustomization(namespace="openshift-config", patches=[TO_PATCH]), ("CERTAIN", "patches.0.target.name")),
        (kustomization(patchesJson6902=[{"target": THERE}]), ("CERTAIN", "patchesJson6902.0.target.name")),
        (kustomization(namespace="team-a", patches=[TO_PATCH]), None),
        (kustomization(patches=[{"target": {"kind": "Deployment", "name": "pull-secret"}}]), None),
        ({**kustomization(patches=[TO_PATCH]), "kind": "Component"}, ("POSSIBLE", "patches.0.target.name")),
    ],
)
def test_what_is_written_is_told_with_how_certain_it_is_and_where_it_stands(
    found: dict[str, Any], answer: tuple[str, str] | None
) -> None:
    assert of_cluster(found) == answer


# Fields, files on nodes, rights, and the guard itself.


def test_a_change_of_a_hosted_clusters_pull_secret_is_guarded_and_a_new_cluster_is_not() -> None:
    hosted = item("hypershift.openshift.io/v1beta1", "HostedCluster", "a", spec={"pullSecret": {"name": "b"}})
    (change,) = guard.find_writes(hosted, patch=True)
    assert (change.what, change.answer) == ("a hosted cluster's pull-secret", Answer.CERTAIN)
    unknown = {**hosted, "spec": {"pullSecret": UNKNOWN}}
    assert [write.answer for write in guard.find_writes(unknown, patch=True)] == [Answer.UNKNOWN]
    assert written(hosted) == set()
    fips = item("hypershift.openshift.io/v1beta1", "HostedCluster", "a", spec={"fips": True})
    assert written(fips, patch=True) == set()


def machine_config(config: Any) -> dict[str, Any]:
    return item("machineconfiguration.openshift.io/v1", "MachineConfig", spec={"config": config})


def unit(text: str) -> dict[str, Any]:
    return {"systemd": {"units": [{"name": "a.service", "contents": text}]}}


@pytest.mark.parametrize(
    "storage",
    [
        {"files": [{"path": AUTH_FILE}]},
        {"files": [{"path": "/var/lib//kubelet/./config.json"}]},
        {"files": [{"path": "/var/lib/kubelet/pods/../config.json"}]},
        {"files": [{"path": f"/sysroot/ostree/deploy/rhcos{AUTH_FILE}"}]},
        {"files": [{"path": UNKNOWN}]},
        {"directories": [{"path": AUTH_FILE, "overwrite": True}]},
        {"files": None, "links": [{"path": "/var/lib/kubelet", "target": "/etc/kubelet"}]},
        {"links": [{"path": "/var", "target": "/elsewhere"}]},
    ],
)
def test_machine_configs_that_take_the_place_of_the_kubelets_logins_are_refused(storage: dict[str, Any]) -> None:
    assert written(machine_config({"storage": storage})) == {AUTH_FILE}


def test_a_machine_config_that_is_not_known_is_refused_and_one_that_fetches_more_is_advice() -> None:
    assert written(machine_config(UNKNOWN)) == {AUTH_FILE}
    more = {"ignition": {"config": {"merge": [{"source": "https://example.com/more.ign"}]}}}
    assert (written(machine_config(more)), possible(machine_config(more))) == (set(), {AUTH_FILE})


SCRIPT = f"#!/bin/sh\ncp /tmp/login.json {AUTH_FILE}\n"
ENCODED = base64.b64encode(gzip.compress(SCRIPT.encode())).decode()


@pytest.mark.parametrize(
    "config",
    [
        unit(f"ExecStart=/usr/bin/cp /tmp/login.json {AUTH_FILE}"),
        unit(f"ExecStart=/usr/bin/podman pull --authfile {AUTH_FILE} example.com/a"),
        unit("[Mount]\nWhere=/var/lib/kubelet\nOptions=bind\n"),
        {"storage": {"files": [{"path": "/a", "contents": {"source": "data:," + SCRIPT.replace("/", "%2F")}}]}},
        {"storage": {"files": [{"path": "/a", "contents": {"source": f"data:text/plain;base64,{ENCODED}"}}]}},
    ],
)
def test_what_units_and_scripts_say_of_them_is_advice_whatever_they_do(config: Any) -> None:
    assert written(machine_config(config)) == set()
    assert mentioned(machine_config(config)) == {AUTH_FILE}


@pytest.mark.parametrize(
    "config",
    [
        {"storage": {"files": [{"path": "/etc/a", "contents": {"source": "data:;base64,%%%"}}]}},
        {"storage": {"files": [{"path": "/var/lib/kubelet/config.json.d/a"}, {"path": "/var/lib/kubelet/a"}]}},
        unit("ExecStart=/usr/bin/ls /var/lib/kubelet/pods"),
        {"ignition": {"version": "3.4.0"}},
    ],
)
def test_other_machine_configs_are_harmless(config: Any) -> None:
    assert written(machine_config(config)) == possible(machine_config(config)) == mentioned(machine_config(config))


SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch"]}


def binding(kind: str, role: str, namespace: str | None = None) -> dict[str, Any]:
    return item(RBAC, kind, namespace, roleRef={"kind": "ClusterRole", "name": role})


@pytest.mark.parametrize(
    ("found", "refused", "advised"),
    [
        (item(RBAC, "Role", "openshift-config", rules=[SECRETS]), {PULL_SECRET}, set()),
        (item(RBAC, "Role", "openshift-config", rules=[{**SECRETS, "verbs": ["get", "list"]}]), set(), set()),
        (item(RBAC, "Role", "openshift-config", rules=[{**SECRETS, "resourceNames": ["a"]}]), set(), set()),
        (item(RBAC, "Role", "team-a", rules=[SECRETS]), set(), set()),
        (item(RBAC, "ClusterRole", rules=[{**SECRETS, "resourceNames": ["pull-secret"]}]), set(), {PULL_SECRET}),
        (item(RBAC, "ClusterRole", rules=[SECRETS]), set(), set()),
        (binding("RoleBinding", "edit", "openshift-config"), {PULL_SECRET}, set()),
        (binding("RoleBinding", "view", "openshift-config"), set(), set()),
        (binding("RoleBinding", "admin", "team-a"), set(), set()),
        (binding("ClusterRoleBinding", "view"), set(), set()),
    ],
)
def test_rights_to_write_it_are_judged_by_where_they_hold(
    found: dict[str, Any], refused: set[str], advised: set[str]
) -> None:
    assert (written(found), possible(found)) == (refused, advised)


def test_the_right_to_everything_is_advice_because_it_says_nothing_of_what_it_is_for() -> None:
    found = binding("ClusterRoleBinding", "cluster-admin")
    assert (written(found), len(possible(found))) == (set(), len(guard.GUARDED_OBJECTS))


RULES = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["UPDATE"]}]


def test_an_admission_policy_that_changes_secrets_changes_the_guarded_ones_unless_something_narrows_it() -> None:
    def policy(**spec: Any) -> dict[str, Any]:
        return item(ADMISSION, "MutatingAdmissionPolicy", spec={"matchConstraints": {"resourceRules": RULES}, **spec})

    assert len(written(policy())) == 4
    assert {str(write).partition(" ")[0] for write in guard.find_writes(policy())} == {"changes"}
    assert len(possible(policy(matchConditions=[{"name": "a", "expression": "true"}]))) == 4
    elsewhere = {"matchLabels": {OWN_LABEL: "team-a"}}
    assert not written(policy(matchConstraints={"resourceRules": RULES, "namespaceSelector": elsewhere}))
    webhook = {"name": "a.example.com", "rules": RULES}
    found = item(ADMISSION, "MutatingWebhookConfiguration", webhooks=[webhook])
    assert (written(found), len(possible(found))) == (set(), 4)


def test_a_patch_of_the_guards_own_policies_is_refused_and_their_declaration_is_not() -> None:
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        for part in guard.GUARD_PARTS:
            found = item(ADMISSION, kind, name=f"pull-secrets-dev-{part}", spec={"validationActions": ["Audit"]})
            assert len(written(found, patch=True)) == 1
            assert written(found) == mentioned(found) == set()
    assert not written(item(ADMISSION, "ValidatingAdmissionPolicy", name="other"), patch=True)


# Mentions.


def wrapped(text: str, *ways: str) -> str:
    """Put a text into others, as repositories do."""
    for way in ways:
        text = {
            "json": lambda inner: json.dumps({"a": inner}),
            "base64": lambda inner: base64.b64encode(inner.encode()).decode(),
            "gzip": lambda inner: base64.b64encode(gzip.compress(inner.encode())).decode(),
            "url": lambda inner: "data:," + quote(inner, safe=""),
            "script": lambda inner: f"echo {inner} | base64 -d | oc apply -f -",
            "escaped": lambda inner: "".join(f"\\x{ord(letter):02x}" for letter in inner),
            "lines": lambda inner: "\n".join(textwrap.wrap(inner, 76)),
        }[way](text)
    return text


MANIFEST = "apiVersion: v1\nkind: Secret\nmetadata: {name: pull-secret, namespace: openshift-config}\n"


@pytest.mark.parametrize(
    "ways",
    [
        (),
        ("json",),
        ("json", "json"),
        ("base64",),
        ("base64", "lines"),
        ("base64", "script"),
        ("base64", "script", "base64"),
        ("gzip",),
        ("url",),
        ("base64", "url"),
        ("escaped",),
        ("json", "base64", "json"),
    ],
)
def test_a_text_inside_a_text_is_read(ways: tuple[str, ...]) -> None:
    found = item("v1", "ConfigMap", "team-a", data={"a": wrapped(MANIFEST, *ways)})
    assert mentioned(found) == {PULL_SECRET}


@given(
    st.sampled_from([found for found in guard.GUARDED_OBJECTS if found.namespace]),
    st.lists(st.sampled_from(["spec", "items", "a", "kind"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["json", "base64", "url", "gzip"]), max_size=2),
    st.booleans(),
)
def test_name_and_namespace_are_a_mention_wherever_they_stand(
    guarded: guard.GuardedObject, where: list[str], ways: list[str], key: bool
) -> None:
    name, namespace = wrapped(f"{guarded.name} and more", *ways), str(guarded.namespace)
    inside: Any = {name: None} if key else [name]
    for part in where:
        inside = {part: inside}
    both = {**item("example.com/v1", "Anything", "team-a", "x"), "inside": inside, "list": [{"place": namespace}]}
    assert str(guarded) in mentioned(both)
    assert str(guarded) not in mentioned({**both, "list": []})


@given(st.text("./", max_size=6).map(lambda dots: f"/var/lib/{dots}kubelet/config.json"))
def test_every_spelling_of_the_path_that_the_system_takes_for_the_file_is_one(path: str) -> None:
    assert bool(mentioned(item("v1", "ConfigMap", data={"a": f"cp a {path}"}))) or posixpath.normpath(path) != AUTH_FILE


@pytest.mark.parametrize(
    ("text", "namespace", "named"),
    [
        ("openshift-config/pull-secret", None, {PULL_SECRET}),
        ("secret pull-secret", "openshift-config", {PULL_SECRET}),
        ("secret pull-secret", "team-a", set()),
        ("pull-secrets render openshift-config", None, set()),
        ("openshift-config my-pull-secret pull-secret-2", None, set()),
        ("oc edit image.config.openshift.io/cluster", None, {"image.config.openshift.io/cluster"}),
        ("oc edit images.config cluster", None, {"image.config.openshift.io/cluster"}),
        ("apiVersion: config.openshift.io/v1\nkind: OAuth\nname: cluster", None, set()),
        (f"cat > {AUTH_FILE}", None, {AUTH_FILE}),
        ("cat /var/lib/kubelet/config.json.d/a /var/lib/kubelet/config.yaml", None, set()),
    ],
)
def test_texts_mention_a_guarded_thing_by_whole_words(text: str, namespace: str | None, named: set[str]) -> None:
    assert set(guard.mentions_of([text], namespace)) == named


def test_a_mention_says_where_it_stands() -> None:
    found = item("example.com/v1", "Login", "openshift-config", spec={"to": [{"secretName": "pull-secret"}]})
    assert guard.find_mentions(found) == {PULL_SECRET: ("spec", "to", 0, "secretName")}


def test_a_compressed_bomb_is_looked_into_no_further_than_its_bound() -> None:
    bomb = base64.b64encode(gzip.compress(b"\0" * (1 << 26))).decode()
    assert guard.mentions_of([bomb] * 8) == {}


# Data for the in-cluster guard.


def test_every_guarded_object_says_how_admission_spells_it() -> None:
    for found in guard.GUARDED_OBJECTS:
        assert found.resource == found.kind.lower() + "s"
        assert found.purpose
    assert {kind for _, kind in guard.GUARDED_KINDS} == {
        "Secret",
        "Image",
        "HostedCluster",
        "HostedControlPlane",
        "MachineConfig",
        "ControllerConfig",
    }


def test_no_write_shows_a_value() -> None:
    found = secret("openshift-config", "pull-secret")
    found["stringData"] = {"a": "canary"}
    assert "canary" not in "".join(str(write) for write in guard.find_writes(found))

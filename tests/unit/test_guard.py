"""What counts as a write to the cluster pull-secret, object by object."""

import base64
import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets import guard
from pullsecrets.data import UNKNOWN
from pullsecrets.guard.targets import SECRET_WRITERS

PULL_SECRET = "Secret openshift-config/pull-secret"
AUTH_FILE = "/var/lib/kubelet/config.json"
ESO = "external-secrets.io/v1"


def item(version: str, kind: str, namespace: Any = None, name: Any = "x", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace is not None else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def secret(namespace: Any, name: Any, **annotations: str) -> dict[str, Any]:
    made = item("v1", "Secret", namespace, name)
    if annotations:
        made["metadata"]["annotations"] = {key.replace("__", "/"): value for key, value in annotations.items()}
    return made


def written(found: dict[str, Any], namespace: Any = UNKNOWN) -> set[str]:
    return {write.what for write in guard.find_writes(found, namespace)}


def paths(found: dict[str, Any]) -> list[str]:
    return [".".join(map(str, write.path)) for write in guard.find_writes(found)]


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
    assert (write.what, write.path, write.certain) == (what, ("metadata", "name"), True)


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
    ("namespace", "name"),
    [
        (None, "pull-secret"),
        (UNKNOWN, "pull-secret"),
        ("openshift-config", UNKNOWN),
        (UNKNOWN, UNKNOWN),
        ("openshift-config", "{{ .Values.name }}"),
        ("${NAMESPACE}", "pull-secret"),
        ("openshift-config", "${APP}-secret"),
    ],
)
def test_an_identity_that_is_not_known_could_be_the_guarded_one(namespace: Any, name: Any) -> None:
    writes = [write for write in guard.find_writes(secret(namespace, name)) if write.what == PULL_SECRET]
    assert [write.certain for write in writes] == [False]


def test_a_placeholder_that_cannot_become_the_guarded_name_is_harmless() -> None:
    assert not written(secret(None, "${APP}-registry"))


def test_metadata_that_is_not_known_at_all_could_be_any_guarded_secret() -> None:
    found = {"apiVersion": "v1", "kind": "Secret", "metadata": UNKNOWN}
    assert len(written(found)) == 4


def test_the_providers_namespace_counts_where_the_object_names_none() -> None:
    assert written(secret(None, "pull-secret"), "openshift-config") == {PULL_SECRET}
    assert written(secret(None, "pull-secret"), "team-a") == set()


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


json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.just(UNKNOWN), names),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["kind", "metadata", "spec", "items", "name", "namespace", "target", "data", "path"]),
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
        ("clustersecret.io/v1", "ClusterSecret"),
    ]
)


@given(kinds, st.dictionaries(st.sampled_from(["metadata", "spec", "items", "data", "patches"]), json_like))
def test_objects_of_any_shape_are_judged_without_an_error(kind: tuple[str, str], fields: dict[str, Any]) -> None:
    for write in guard.find_writes({"apiVersion": kind[0], "kind": kind[1], **fields}):
        assert str(write)


# Lists and objects inside objects.


def test_each_object_of_a_list_is_judged_and_found_again() -> None:
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [secret("a", "b"), secret("openshift-config", "pull-secret")],
    }
    assert paths(listed) == ["items.1.metadata.name"]


def test_items_of_a_typed_list_have_its_kind() -> None:
    metadata = {"name": "pull-secret", "namespace": "openshift-config"}
    assert written({"apiVersion": "v1", "kind": "SecretList", "items": [{"metadata": metadata}]}) == {PULL_SECRET}
    assert len(written({"apiVersion": "v1", "kind": "SecretList", "items": UNKNOWN})) == 4


def test_objects_inside_a_custom_resource_are_judged() -> None:
    work = item(
        "work.open-cluster-management.io/v1",
        "ManifestWork",
        "cluster-a",
        spec={"workload": {"manifests": [secret("openshift-config", "pull-secret")]}},
    )
    assert paths(work) == ["spec.workload.manifests.0.metadata.name"]


def test_references_with_kind_namespace_and_name_are_judged() -> None:
    target = {"kind": "Secret", "name": "pull-secret", "namespace": "{{request.namespace}}"}
    assert written(item("kyverno.io/v1", "ClusterPolicy", spec={"rules": [{"mutate": {"targets": [target]}}]}))
    assert not written(item("kyverno.io/v1", "ClusterPolicy", spec={"rules": [{"match": {"kinds": ["Secret"]}}]}))


def test_a_policy_that_clones_secrets_by_label_could_clone_the_guarded_one() -> None:
    generate = {"namespace": "openshift-config", "cloneList": {"namespace": "source", "kinds": ["v1/Secret"]}}
    assert written(item("kyverno.io/v1", "ClusterPolicy", spec={"rules": [{"generate": generate}]})) == {PULL_SECRET}


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
    assert paths(item(version, kind, "team-a", spec=spec)) == []


def test_an_external_secrets_own_name_counts_when_its_target_has_none() -> None:
    assert paths(item(ESO, "ExternalSecret", "openshift-config", "pull-secret", spec={})) == ["metadata.name"]
    named = {"target": {"name": "other"}}
    assert paths(item(ESO, "ExternalSecret", "openshift-config", "pull-secret", spec=named)) == []


def test_an_external_secret_with_another_kind_of_target_is_judged_by_that_kind() -> None:
    spec = {"target": {"name": "cluster", "manifest": {"apiVersion": "config.openshift.io/v1", "kind": "Image"}}}
    assert "image.config.openshift.io/cluster" in written(item(ESO, "ExternalSecret", "a", spec=spec))


def cluster_external_secret(target: Any, **spec: Any) -> dict[str, Any]:
    return item(ESO, "ClusterExternalSecret", spec={"externalSecretSpec": {"target": {"name": target}}, **spec})


OWN_LABEL = "kubernetes.io/metadata.name"


@pytest.mark.parametrize(
    "spec",
    [
        {"namespaceSelectors": [{"matchLabels": {"apps.platform/tenant": "true"}}]},
        {"namespaceSelectors": [{}]},
        {"namespaceSelector": {}},
        {"namespaceSelectors": UNKNOWN},
        {"namespaces": ["team-a", "openshift-config"]},
        {"namespaces": [UNKNOWN]},
        {"namespaceSelectors": [{"matchLabels": {OWN_LABEL: "openshift-config"}}]},
        {"namespaceSelectors": [{"matchExpressions": [{"key": OWN_LABEL, "operator": "NotIn", "values": ["a"]}]}]},
    ],
)
def test_a_cluster_external_secret_of_that_name_could_reach_the_namespace(spec: dict[str, Any]) -> None:
    assert PULL_SECRET in written(cluster_external_secret("pull-secret", **spec))


@pytest.mark.parametrize(
    "spec",
    [
        {"namespaces": ["team-a"]},
        {"namespaceSelectors": [{"matchLabels": {OWN_LABEL: "team-a"}}]},
        {"namespaceSelectors": [{"matchExpressions": [{"key": OWN_LABEL, "operator": "In", "values": ["a", "b"]}]}]},
        {},
    ],
)
def test_a_cluster_external_secret_that_names_its_namespaces_cannot(spec: dict[str, Any]) -> None:
    assert written(cluster_external_secret("pull-secret", **spec)) == set()


def test_a_cluster_external_secret_of_another_name_is_harmless() -> None:
    assert written(cluster_external_secret("app-registry-pull", namespaceSelectors=[{}])) == set()


def test_a_push_secret_is_judged_by_its_remote_key() -> None:
    data = [{"match": {"remoteRef": {"remoteKey": "global-pull-secret"}}}]
    assert written(item("external-secrets.io/v1alpha1", "PushSecret", "a", spec={"data": data})) == {
        "Secret kube-system/global-pull-secret"
    }
    spec = {"pushSecretSpec": {"data": data}}
    assert written(item("external-secrets.io/v1alpha1", "ClusterPushSecret", spec=spec))
    assert len(written(item("external-secrets.io/v1alpha1", "PushSecret", "a", spec={"dataTo": [{}]}))) == 4


@pytest.mark.parametrize(
    "annotations",
    [
        {
            "reflector.v1.k8s.emberstack.com__reflection-auto-enabled": "true",
            "reflector.v1.k8s.emberstack.com__reflection-auto-namespaces": "a,openshift-.*",
        },
        {"reflector.v1.k8s.emberstack.com__reflection-auto-enabled": "true"},
        {"replicator.v1.mittwald.de__replicate-to": "openshift-config"},
        {"replicator.v1.mittwald.de__replicate-to-matching": "team=a"},
        {"kubed.appscode.com__sync": ""},
        {"replicator.v1.mittwald.de__replicate-to": "("},
    ],
)
def test_a_secret_of_that_name_that_is_copied_on_could_land_there(annotations: dict[str, str]) -> None:
    assert PULL_SECRET in written(secret("team-a", "pull-secret", **annotations))
    assert written(secret("team-a", "registry", **annotations)) == set()


def test_copies_that_stay_among_teams_are_harmless() -> None:
    annotations = {
        "reflector.v1.k8s.emberstack.com__reflection-auto-enabled": "true",
        "reflector.v1.k8s.emberstack.com__reflection-allowed-namespaces": "team-.*",
    }
    assert written(secret("team-a", "pull-secret", **annotations)) == set()


def test_annotations_that_eso_renders_could_copy_the_secret_on() -> None:
    template = {"templateFrom": [{"target": "Annotations", "literal": "a: b"}]}
    spec = {"target": {"name": "pull-secret", "template": template}}
    assert PULL_SECRET in written(item(ESO, "ExternalSecret", "team-a", spec=spec))


@pytest.mark.parametrize(
    ("kustomization", "guarded"),
    [
        ({"secretGenerator": [{"name": "pull-secret"}]}, False),
        (
            {
                "secretGenerator": [{"name": "pull-secret", "namespace": "openshift-config"}],
                "generatorOptions": {"disableNameSuffixHash": True},
            },
            True,
        ),
        (
            {
                "namespace": "kube-system",
                "namePrefix": "global-",
                "secretGenerator": [{"name": "pull-secret", "behavior": "merge"}],
            },
            True,
        ),
        ({"patches": [{"target": {"kind": "Secret", "name": "pull-secret"}, "patch": "[]"}]}, True),
        ({"namespace": "a", "patches": [{"target": {"kind": "Secret", "name": "pull-secret"}}]}, False),
        ({"patches": [{"target": {"kind": "Deployment", "name": "pull-secret"}}]}, False),
    ],
)
def test_kustomizations_that_generate_or_patch_it_are_found(kustomization: dict[str, Any], guarded: bool) -> None:
    found = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **kustomization}
    assert bool(written(found)) == guarded


# Fields, files on nodes, and commands.


def test_a_hosted_clusters_pull_secret_is_guarded() -> None:
    hosted = item("hypershift.openshift.io/v1beta1", "HostedCluster", "a", spec={"pullSecret": {"name": "b"}})
    assert written(hosted) == {"a hosted cluster's pull-secret"}
    assert not written(item("hypershift.openshift.io/v1beta1", "HostedCluster", "a", spec={"fips": True}))


def machine_config(config: Any) -> dict[str, Any]:
    return item("machineconfiguration.openshift.io/v1", "MachineConfig", spec={"config": config})


def unit(text: str) -> dict[str, Any]:
    return {"systemd": {"units": [{"name": "a.service", "contents": text}]}}


SCRIPT = f"#!/bin/sh\ncp /tmp/login.json {AUTH_FILE}\n"


@pytest.mark.parametrize(
    "config",
    [
        {"storage": {"files": [{"path": AUTH_FILE}]}},
        {"storage": {"files": [{"path": "/var/lib//kubelet/./config.json"}]}},
        {"storage": {"files": [{"path": f"/sysroot/ostree/deploy/rhcos{AUTH_FILE}"}]}},
        {"storage": {"files": [{"path": UNKNOWN}]}},
        {"storage": {"links": [{"path": "/var/lib/kubelet", "target": "/etc/kubelet"}]}},
        unit(f"ExecStart=/usr/bin/cp /tmp/login.json {AUTH_FILE}"),
        {"storage": {"files": [{"path": "/a", "contents": {"source": "data:," + SCRIPT.replace(" ", "%20")}}]}},
        {
            "storage": {
                "files": [
                    {
                        "path": "/a",
                        "contents": {
                            "source": "data:text/plain;base64,"
                            + base64.b64encode(gzip.compress(SCRIPT.encode())).decode(),
                            "compression": "gzip",
                        },
                    }
                ]
            }
        },
        {"ignition": {"config": {"merge": [{"source": "https://example.com/more.ign"}]}}},
        UNKNOWN,
    ],
)
def test_machine_configs_that_write_the_kubelets_logins_are_found(config: Any) -> None:
    assert written(machine_config(config)) == {AUTH_FILE}


@pytest.mark.parametrize(
    "config",
    [
        {"storage": {"files": [{"path": "/etc/a", "contents": {"source": "data:;base64,%%%"}}]}},
        {"storage": {"directories": [{"path": "/var/lib/kubelet"}]}},
        unit(f"ExecStart=/usr/bin/podman pull --authfile {AUTH_FILE} example.com/a"),
        unit(f"ConditionPathExists={AUTH_FILE}\nEnvironment=REGISTRY_AUTH_FILE={AUTH_FILE}"),
        {"ignition": {"version": "3.4.0"}},
    ],
)
def test_machine_configs_that_only_read_them_are_not(config: Any) -> None:
    assert written(machine_config(config)) == set()


def test_a_node_pools_machine_config_in_a_config_map_is_found() -> None:
    text = f"kind: MachineConfig\nspec:\n  config:\n    storage:\n      files:\n      - path: {AUTH_FILE}\n"
    assert written(item("v1", "ConfigMap", "clusters", data={"config": text})) == {AUTH_FILE}


def job(command: list[str], env: dict[str, str] | None = None, namespace: str = "team-a") -> dict[str, Any]:
    container = {"command": command, "env": [{"name": key, "value": value} for key, value in (env or {}).items()]}
    return item("batch/v1", "Job", namespace, spec={"template": {"spec": {"containers": [container]}}})


def test_commands_of_workloads_that_name_and_write_it_are_found() -> None:
    script = "oc -n $NS set data secret/pull-secret --from-file=a"
    assert written(job(["sh", "-c", script], {"NS": "openshift-config"})) == {PULL_SECRET}
    assert written(job(["oc", "set", "data", "secret/pull-secret", "-n", "openshift-config"])) == {PULL_SECRET}
    assert written(job(["oc", "set", "data", "secret/pull-secret"], namespace="openshift-config")) == {PULL_SECRET}
    assert written(job(["oc", "get", "secret", "pull-secret", "-n", "openshift-config"])) == set()
    assert written(job(["oc", "set", "data", "secret/pull-secret", "-n", "team-a"])) == set()


def test_an_unknown_kind_that_names_it_is_found_and_one_that_names_another_is_not() -> None:
    named = {"secretName": "pull-secret", "secretNamespace": "openshift-config"}
    assert written(item("example.com/v1", "Login", "a", spec={"to": named})) == {PULL_SECRET}
    assert written(item("example.com/v1", "Login", "a", spec={"to": {**named, "secretNamespace": "a"}})) == set()
    assert written(item("rbac.authorization.k8s.io/v1", "Role", "a", rules=[named])) == set()


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
    }


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
        (f"cat > {AUTH_FILE}", None, {AUTH_FILE}),
        (f"podman pull --authfile={AUTH_FILE} a", None, set()),
    ],
)
def test_texts_name_a_guarded_thing_by_whole_words(text: str, namespace: str | None, named: set[str]) -> None:
    assert set(guard.names_guarded([text], namespace)) == named


def test_no_write_shows_a_value() -> None:
    found = secret("openshift-config", "pull-secret")
    found["stringData"] = {"a": "canary"}
    assert "canary" not in "".join(str(write) for write in guard.find_writes(found))

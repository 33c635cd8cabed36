"""The guard and Pod admission on the real API server: who may do what, as the identities that would try it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local.controlplane import ControlPlane
from local.controlplane.api import RequestRefused
from local.controlplane.waiting import NotYet, until
from pullsecrets.kube.kubeconfig import Access, Reach, read_access
from pullsecrets.kube.objects import path_of
from pullsecrets.manifests.guard import PodAdmissionSpec, pod_policy, pod_policy_binding
from tests.e2e.stack import ADOPTED, DEADLINE, OTHERS_ENTRY, Stack, namespace

pytestmark = pytest.mark.controlplane

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
JSON = "application/json"

ARGO = "system:serviceaccount:openshift-gitops:openshift-gitops-argocd-application-controller"
MACHINE_CONFIG_OPERATOR = "system:serviceaccount:openshift-machine-config-operator:machine-config-controller"
BREAK_GLASS = "e2e-break-glass"
# Other stacks of this cluster may guard the same objects, and of two denials the server tells one: who is to be allowed
# passes theirs by their break-glass group, and what is expected of a message is what both say.
OTHER_STACKS = "pull-secrets-break-glass"
IDENTITIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tenant": ("guard-tenant", ("guard-tenants",)),
    "argo": (ARGO, ()),
    "platform admin": ("guard-platform-admin", ("guard-platform-admins",)),
    "break-glass": ("guard-on-call", (BREAK_GLASS, OTHER_STACKS)),
    "writer": ("guard-writer", (OTHER_STACKS,)),
    "machine-config operator": (MACHINE_CONFIG_OPERATOR, ()),
    "hosted cluster operator": ("system:hosted-cluster-config", ()),
}
CLUSTER_ADMINS = set(IDENTITIES) - {"tenant"}

CONFIGURATION = {
    "binding": "admission",
    "guard": {
        "mode": "deny",
        "labelers": {"users": [ARGO], "groups": ["platform-engineers"]},
        "writers": {"users": ["guard-writer"]},
        "breakGlassGroup": BREAK_GLASS,
    },
}

OUTSIDE = "guard-outside"
MINE = "e2e-guard-tenant"
OPTED_IN = "e2e-auth-dev"
LABEL = {"metadata": {"labels": {"e2e.platform/app": "true"}}}
SECRETS = "/api/v1/namespaces/openshift-config/secrets"
HOOKS = "/api/v1/namespaces/kube-system/secrets"
IMAGES = "/apis/config.openshift.io/v1/images"
HOSTED = "/apis/hypershift.openshift.io/v1beta1/namespaces/openshift-config/hostedclusters"
MACHINES = "/apis/machineconfiguration.openshift.io/v1/machineconfigs"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
KINDS = {
    "config.openshift.io": ("v1", "Image", "images", "Cluster"),
    "hypershift.openshift.io": ("v1beta1", "HostedCluster", "hostedclusters", "Namespaced"),
    "machineconfiguration.openshift.io": ("v1", "MachineConfig", "machineconfigs", "Cluster"),
}


@dataclass(frozen=True)
class Identity:
    """The API server as somebody."""

    access: Access

    @classmethod
    def of(cls, kubeconfig: Path) -> "Identity":
        return cls(read_access(Reach(kubeconfig)))

    def attempt(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> tuple[int, dict[str, Any]]:
        """Send a request that changes nothing; return its status and answer."""
        headers = self.access.headers()
        headers["Content-Type"] = content_type
        url = f"{self.access.cluster.server}{path}{'&' if '?' in path else '?'}dryRun=All"
        answer = self.access.pool.request(method, url, body=None if body is None else json.dumps(body), headers=headers)
        return answer.status, json.loads(answer.data)


@dataclass(frozen=True)
class Guarded:
    """The stack under its guard, and everybody who tries something."""

    stack: Stack
    who: Mapping[str, Identity] = field(default_factory=dict[str, Identity])


def opaque(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"note": "no credential"}}


def hosted_cluster(secret: str) -> dict[str, Any]:
    spec = {"pullSecret": {"name": secret}, "channel": "stable"}
    metadata = {"name": "guarded"}
    return {
        "apiVersion": "hypershift.openshift.io/v1beta1",
        "kind": "HostedCluster",
        "metadata": metadata,
        "spec": spec,
    }


def machine_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineConfig",
        "metadata": {"name": "99-try"},
        "spec": {"config": {"ignition": {"version": "3.4.0"}, **config}},
    }


def labelled(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **LABEL["metadata"]}}


def file_at(path: str) -> dict[str, Any]:
    return {"storage": {"files": [{"path": path, "contents": {"source": "data:,x"}}]}}


def unit(text: str) -> dict[str, Any]:
    return {"systemd": {"units": [{"name": "a.service", "contents": text}]}}


AUTH_FILE = "/var/lib/kubelet/config.json"


@pytest.fixture(scope="module")
def openshift(stack: Stack) -> Iterator[Stack]:
    """What the guard guards, as an OpenShift cluster would serve it; taken away again."""
    for group, kind in KINDS.items():
        apply(stack, f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind[2]}.{group}", definition(group))
    for name in ("openshift-config", OUTSIDE, MINE):
        stack.make_namespace(name)
    for path, item in [(SECRETS, opaque("pull-secret")), (SECRETS, opaque("other")), *custom_objects()]:
        until(lambda path=path, item=item: create(stack, path, item), DEADLINE, path)
    yield stack
    stack.delete_namespace("openshift-config", OUTSIDE, MINE, "openshift-gitops", "openshift-machine-config-operator")
    for group, kind in KINDS.items():
        stack.admin.call("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind[2]}.{group}")
    for kind in ("clusterrolebindings", "clusterroles"):
        for name in ("e2e-guard-admins", "e2e-guard-tenants"):
            if stack.find(f"{RBAC}/{kind}/{name}"):
                stack.admin.call("DELETE", f"{RBAC}/{kind}/{name}")


@pytest.fixture(scope="module")
def guarded(plane: ControlPlane, openshift: Stack, adopted: str) -> Iterator[Guarded]:
    """The stack with its guard and Pod admission in force."""
    assert adopted
    people = {name: Identity.of(plane.kubeconfig_for(user, groups)) for name, (user, groups) in IDENTITIES.items()}
    people["deployer"] = Identity.of(plane.kubeconfig("pulumi"))
    people["administrator"] = Identity.of(plane.kubeconfig("admin"))
    grant(openshift)
    openshift.up(CONFIGURATION)
    found = Guarded(openshift, people)
    until(lambda: in_force(found), DEADLINE, "the guard in force")
    yield found
    openshift.up()


def definition(group: str) -> dict[str, Any]:
    version, kind, plural, scope = KINDS[group]
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    metadata: dict[str, Any] = {"name": f"{plural}.{group}"}
    if group == "config.openshift.io":
        # The group is protected, so a definition has to say that it is not the real one.
        metadata["annotations"] = {"api-approved.kubernetes.io": "unapproved, for tests"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def custom_objects() -> list[tuple[str, dict[str, Any]]]:
    image = {"apiVersion": "config.openshift.io/v1", "kind": "Image", "metadata": {"name": "cluster"}, "spec": {}}
    writing = {**machine_config(file_at(AUTH_FILE)), "metadata": {"name": "rendered-worker"}}
    return [(IMAGES, image), (HOSTED, hosted_cluster("one")), (MACHINES, writing)]


def apply(stack: Stack, path: str, item: Mapping[str, Any]) -> None:
    stack.admin.apply_raw(path, json.dumps(item).encode())


def create(stack: Stack, path: str, item: Mapping[str, Any]) -> None:
    """Make an object of a kind that may have come to be served just now."""
    try:
        apply(stack, f"{path}/{item['metadata']['name']}", item)
    except RequestRefused as error:
        if error.status not in {404, 429}:
            raise
        raise NotYet(str(error)) from error


def grant(stack: Stack) -> None:
    """Give everybody more than RBAC should, so that what is denied is denied by the guard."""
    verbs = ["get", "create", "update", "patch"]
    resources = ["namespaces", "namespaces/status", "namespaces/finalize"]
    rules = [
        {"apiGroups": [""], "resources": resources, "verbs": verbs},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": [*verbs, "delete", "deletecollection"]},
    ]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    stack.admin.apply({**role, "metadata": {"name": "e2e-guard-tenants"}, "rules": rules})
    for name, role_name, users in (
        ("e2e-guard-admins", "cluster-admin", [IDENTITIES[name][0] for name in sorted(CLUSTER_ADMINS)]),
        ("e2e-guard-tenants", "e2e-guard-tenants", [IDENTITIES["tenant"][0]]),
    ):
        group = "rbac.authorization.k8s.io"
        stack.admin.apply(
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role_name},
                "subjects": [{"apiGroup": group, "kind": "User", "name": user} for user in users],
            }
        )


def in_force(guarded: Guarded) -> None:
    """The API server learns of policies a moment after they are stored."""
    tries = [
        ("PATCH", f"{SECRETS}/pull-secret", {}, MERGE),
        ("PATCH", namespace(MINE), LABEL, MERGE),
        ("POST", MACHINES, machine_config(file_at(AUTH_FILE)), JSON),
        ("PATCH", f"{HOSTED}/guarded", {"spec": {"pullSecret": {"name": "two"}}}, MERGE),
    ]
    for method, path, body, content_type in tries:
        status, _ = guarded.who["platform admin"].attempt(method, path, body, content_type)
        if status != 403:
            raise NotYet(f"{method} {path} answers {status}")
    if "e2e-app" not in pod_entries(guarded, OPTED_IN):
        raise NotYet("Pods are not changed")


NOT_YOURS = "is not for {user} to write, only for the cluster itself, guard.writers and group "
PULL_SECRET = f"Secret openshift-config/pull-secret, the cluster-wide pull-secret, {NOT_YOURS}"
IN_IT = f"guarded objects in it, {NOT_YOURS}"
HOOK = f"Secret kube-system/additional-pull-secret, HyperShift's hook for extra registries, {NOT_YOURS}"
NO_LABEL = (
    "Namespace {name}: {user} may not put, change or take off the opt-in labels e2e.platform/app, e2e.platform/web"
)
NOT_THERE = "Namespace guard-outside: registry e2e-app may be delivered to e2e-* only"


def verdict(guarded: Guarded, who: str, request: tuple[Any, ...], expected: str) -> None:
    """Assert that a request is allowed (no text expected), or denied with a text by a policy of this stack."""
    method, path, *rest = request
    status, answer = guarded.who[who].attempt(method, path, *rest)
    message = str(answer.get("message", ""))
    if not expected:
        assert status < 300, message
        return
    user = IDENTITIES[who][0] if who in IDENTITIES else {"administrator": "kubernetes-admin"}[who]
    assert status == 403, message or status
    assert "ValidatingAdmissionPolicy 'pull-secrets-" in message
    assert expected.replace("{user}", user) in message


WRITES: dict[str, tuple[Any, ...]] = {
    "update": ("PUT", f"{SECRETS}/pull-secret", opaque("pull-secret")),
    "patch": ("PATCH", f"{SECRETS}/pull-secret", {"metadata": {"labels": {"a": "b"}}}, MERGE),
    "apply": ("PATCH", f"{SECRETS}/pull-secret?fieldManager=e2e&force=true", opaque("pull-secret"), APPLY),
    "delete": ("DELETE", f"{SECRETS}/pull-secret"),
    "delete of all": ("DELETE", SECRETS),
}


@pytest.mark.parametrize("verb", WRITES)
@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("tenant", PULL_SECRET),
        ("argo", PULL_SECRET),
        ("platform admin", PULL_SECRET),
        ("writer", ""),
        ("break-glass", ""),
        ("machine-config operator", ""),
        ("hosted cluster operator", ""),
        ("administrator", ""),
    ],
)
def test_only_listed_principals_write_the_cluster_pull_secret(
    guarded: Guarded, who: str, verb: str, expected: str
) -> None:
    verdict(guarded, who, WRITES[verb], expected)


@pytest.mark.parametrize(
    ("who", "request_", "expected"),
    [
        ("tenant", ("POST", HOOKS, opaque("additional-pull-secret")), HOOK),
        ("platform admin", ("POST", HOOKS, opaque("additional-pull-secret")), HOOK),
        ("break-glass", ("POST", HOOKS, opaque("additional-pull-secret")), ""),
        ("hosted cluster operator", ("POST", HOOKS, opaque("global-pull-secret")), ""),
        ("argo", ("PATCH", f"{IMAGES}/cluster", {"spec": {"a": "b"}}, MERGE), "image.config.openshift.io/cluster"),
        ("platform admin", ("DELETE", f"{IMAGES}/cluster"), "image.config.openshift.io/cluster"),
        ("break-glass", ("PATCH", f"{IMAGES}/cluster", {"spec": {"a": "b"}}, MERGE), ""),
        ("platform admin", ("DELETE", namespace("openshift-config")), f"Namespace openshift-config, with {IN_IT}"),
        ("break-glass", ("DELETE", namespace("openshift-config")), ""),
        ("platform admin", ("PATCH", namespace("openshift-config"), {"metadata": {"labels": {"a": "b"}}}, MERGE), ""),
        ("platform admin", ("DELETE", namespace(OUTSIDE)), ""),
    ],
)
def test_the_other_guarded_objects_are_guarded_alike(
    guarded: Guarded, who: str, request_: tuple[Any, ...], expected: str
) -> None:
    verdict(guarded, who, request_, expected)


@pytest.mark.parametrize(
    ("who", "request_"),
    [
        ("platform admin", ("PATCH", f"{SECRETS}/other", {"metadata": {"labels": {"a": "b"}}}, MERGE)),
        ("platform admin", ("DELETE", f"{SECRETS}/other")),
        ("tenant", ("POST", f"/api/v1/namespaces/{MINE}/secrets", opaque("pull-secret"))),
        ("argo", ("POST", HOOKS, opaque("something-else"))),
    ],
)
def test_every_other_secret_is_left_alone(guarded: Guarded, who: str, request_: tuple[Any, ...]) -> None:
    verdict(guarded, who, request_, "")


HOSTED_CHANGE = ("PATCH", f"{HOSTED}/guarded", {"spec": {"pullSecret": {"name": "two"}}}, MERGE)


@pytest.mark.parametrize(
    ("who", "request_", "expected"),
    [
        ("platform admin", HOSTED_CHANGE, f"HostedCluster openshift-config/guarded: spec.pullSecret {NOT_YOURS}"),
        ("argo", HOSTED_CHANGE, f"HostedCluster openshift-config/guarded: spec.pullSecret {NOT_YOURS}"),
        ("argo", ("PATCH", f"{HOSTED}/guarded", {"spec": {"pullSecret": None}}, MERGE), "spec.pullSecret"),
        ("argo", ("PATCH", f"{HOSTED}/guarded", {"spec": {"channel": "fast"}}, MERGE), ""),
        ("break-glass", HOSTED_CHANGE, ""),
        ("writer", HOSTED_CHANGE, ""),
    ],
)
def test_the_pull_secret_of_a_hosted_cluster(
    guarded: Guarded, who: str, request_: tuple[Any, ...], expected: str
) -> None:
    verdict(guarded, who, request_, expected)


IN_FILES = "Found in spec.config.storage.files."
IN_LINKS = "Found in spec.config.storage.links."
IN_UNITS = "Found in spec.config.systemd.units."
FETCHED = "Found from spec.config.ignition.config."
ELSEWHERE = {"source": "https://example.com/more.ign"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (file_at(AUTH_FILE), IN_FILES),
        (file_at("/var/lib//kubelet/./config.json"), IN_FILES),
        (file_at("/sysroot/ostree/deploy/rhcos/var/lib/kubelet/config.json"), IN_FILES),
        (file_at("/var/lib/other/../kubelet/config.json"), IN_FILES),
        (file_at("/etc/kubelet/config.json.d/a"), ""),
        ({"storage": {"links": [{"path": "/var/lib/kubelet", "target": "/etc/x"}]}}, IN_LINKS),
        ({"storage": {"links": [{"path": "/etc/a", "target": "/etc/x"}]}}, ""),
        (unit(f"ExecStart=cp /etc/x {AUTH_FILE}"), IN_UNITS),
        (unit(f"ExecStart=podman pull --authfile {AUTH_FILE} a.example.com/b"), ""),
        (unit(f'ExecStart=podman pull --authfile="{AUTH_FILE}" a.example.com/b'), ""),
        (unit(f"Environment=REGISTRY_AUTH_FILE='{AUTH_FILE}'"), ""),
        (unit(f"ExecStart=podman login --authfile {AUTH_FILE} a.example.com"), IN_UNITS),
        (unit(f"ExecStart=podman pull --authfile {AUTH_FILE} a.example.com/b\nExecStart=cp a {AUTH_FILE}"), IN_UNITS),
        (unit("ExecStart=cp /etc/x /var/lib/kubelet//config.json"), IN_UNITS),
        (unit("ExecStart=cp /etc/x /var/./lib/kubelet/./config.json"), IN_UNITS),
        (unit("ExecStart=cp /etc/x /var/lib/kubelet/pods/../config.json"), IN_UNITS),
        (unit("ExecStart=cp /etc/x /var/lib/kubelet/config.yaml"), ""),
        ({"storage": {"directories": [{"path": AUTH_FILE, "overwrite": True}]}}, IN_FILES),
        ({"storage": {"links": [{"path": "/var//lib/./kubelet/", "target": "/etc/x"}]}}, IN_LINKS),
        ({"storage": {"files": None, "links": None}, "systemd": {"units": [{"name": "a", "contents": None}]}}, ""),
        ({"storage": None, "systemd": None, "ignition": {"version": "3.4.0", "config": {"merge": None}}}, ""),
        ({"systemd": {"units": [{"name": "a", "dropins": [{"contents": f"echo >{AUTH_FILE}"}]}]}}, IN_UNITS),
        ({"ignition": {"config": {"merge": [ELSEWHERE]}}}, FETCHED),
        ({"ignition": {"config": {"replace": ELSEWHERE}}}, FETCHED),
        ({"ignition": {"config": {"replace": {"source": ""}}}}, ""),
        ({"passwd": {"users": []}}, ""),
    ],
)
def test_a_machine_config_that_could_write_the_kubelets_logins(
    guarded: Guarded, config: dict[str, Any], expected: str
) -> None:
    request = ("POST", MACHINES, machine_config(config))
    verdict(guarded, "argo", request, expected)
    verdict(guarded, "break-glass", request, "")
    verdict(guarded, "machine-config operator", request, "")


@pytest.mark.parametrize("group", KINDS)
def test_the_definition_of_a_guarded_kind_is_deleted_by_nobody_else(guarded: Guarded, group: str) -> None:
    name = f"{KINDS[group][2]}.{group}"
    request = ("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    verdict(guarded, "platform admin", request, f"CustomResourceDefinition {name}, of a guarded kind, {NOT_YOURS}")
    verdict(guarded, "break-glass", request, "")


def test_a_machine_config_that_writes_them_already_can_be_marked_but_not_changed(guarded: Guarded) -> None:
    path = f"{MACHINES}/rendered-worker"
    verdict(guarded, "platform admin", ("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, MERGE), "")
    verdict(guarded, "platform admin", ("PATCH", path, {"spec": {"osImageURL": "x"}}, MERGE), IN_FILES)


OFF = {"metadata": {"labels": {"e2e.platform/app": None}}}
OTHER_VALUE = {"metadata": {"labels": {"e2e.platform/app": "false"}}}
UNRELATED = {"metadata": {"labels": {"team": "a"}, "annotations": {"a": "b"}}}
NAMESPACES = "/api/v1/namespaces"


@pytest.mark.parametrize(
    ("who", "request_", "expected"),
    [
        ("tenant", ("POST", NAMESPACES, labelled("e2e-new-one")), NO_LABEL.replace("{name}", "e2e-new-one")),
        ("tenant", ("PATCH", namespace(MINE), LABEL, MERGE), NO_LABEL.replace("{name}", MINE)),
        ("tenant", ("PATCH", f"{namespace(MINE)}/status", LABEL, MERGE), NO_LABEL.replace("{name}", MINE)),
        ("tenant", ("PUT", f"{namespace(MINE)}/finalize", labelled(MINE)), NO_LABEL.replace("{name}", MINE)),
        ("tenant", ("PATCH", namespace(OPTED_IN), OFF, MERGE), NO_LABEL.replace("{name}", OPTED_IN)),
        ("tenant", ("PATCH", namespace(OPTED_IN), OTHER_VALUE, MERGE), NO_LABEL.replace("{name}", OPTED_IN)),
        ("tenant", ("PATCH", namespace(OPTED_IN), UNRELATED, MERGE), ""),
        ("tenant", ("PATCH", namespace(MINE), UNRELATED, MERGE), ""),
        ("platform admin", ("PATCH", namespace(MINE), LABEL, MERGE), NO_LABEL.replace("{name}", MINE)),
        ("argo", ("PATCH", namespace(MINE), LABEL, MERGE), ""),
        ("argo", ("POST", NAMESPACES, labelled("e2e-new-one")), ""),
        ("argo", ("PATCH", namespace(OPTED_IN), OFF, MERGE), ""),
        ("argo", ("PATCH", namespace(OUTSIDE), LABEL, MERGE), NOT_THERE),
        ("argo", ("POST", NAMESPACES, labelled(OUTSIDE)), NOT_THERE),
        ("deployer", ("PATCH", namespace(MINE), LABEL, MERGE), ""),
        ("administrator", ("PATCH", namespace(MINE), LABEL, MERGE), ""),
        ("administrator", ("PATCH", namespace(OUTSIDE), LABEL, MERGE), NOT_THERE),
        ("break-glass", ("PATCH", namespace(OUTSIDE), LABEL, MERGE), ""),
    ],
)
def test_opt_in_labels(guarded: Guarded, who: str, request_: tuple[Any, ...], expected: str) -> None:
    verdict(guarded, who, request_, expected)


def pod_entries(guarded: Guarded, place: str, **spec: Any) -> list[str]:
    """What a Pod's `imagePullSecrets` lists once it is admitted."""
    containers = [{"name": "app", "image": "app.registry.example.com/app"}]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "try"},
        "spec": {"containers": containers, **spec},
    }
    status, answer = guarded.who["administrator"].attempt("POST", f"/api/v1/namespaces/{place}/pods", pod)
    assert status == 201, answer
    entries = [entry.get("name", "") for entry in answer["spec"].get("imagePullSecrets", [])]
    # In which order policies act is the API server's to choose; what stood there before keeps its place.
    added = len(entries) - len(BOTH)
    return [*entries[:added], *sorted(entries[added:])] if set(BOTH) <= {*entries[added:]} else entries


BOTH = ["e2e-app", "e2e-web"]


class TestPods:
    """Every new Pod of an opted-in namespace gets the entries, and keeps what it has."""

    def test_of_the_default_service_account_behind_its_own_entries(self, guarded: Guarded) -> None:
        assert guarded.stack.entries(ADOPTED) == [OTHERS_ENTRY], "no ServiceAccount is bound any more"
        assert pod_entries(guarded, ADOPTED) == [OTHERS_ENTRY, *BOTH]

    def test_of_any_other_service_account(self, guarded: Guarded) -> None:
        metadata = {"name": "guard-builder", "namespace": ADOPTED}
        guarded.stack.admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        assert pod_entries(guarded, ADOPTED, serviceAccountName="guard-builder") == BOTH

    def test_behind_a_list_of_its_own(self, guarded: Guarded) -> None:
        own = [{"name": "own"}]
        assert pod_entries(guarded, ADOPTED, imagePullSecrets=own) == ["own", *BOTH]

    def test_once_where_the_list_has_it_already(self, guarded: Guarded) -> None:
        own = [{"name": "e2e-web"}, {"name": "own"}]
        assert pod_entries(guarded, ADOPTED, imagePullSecrets=own) == ["e2e-web", "own", "e2e-app"]

    def test_behind_an_entry_without_a_name(self, guarded: Guarded) -> None:
        assert pod_entries(guarded, OPTED_IN, imagePullSecrets=[{}, {"name": "own"}]) == ["", "own", "e2e-app"]

    def test_of_the_registries_that_the_labels_grant(self, guarded: Guarded) -> None:
        assert pod_entries(guarded, OPTED_IN) == ["e2e-app"]

    def test_through_the_beta_api_a_service_account_that_comes_later_as_well(self, guarded: Guarded) -> None:
        admin = guarded.stack.admin
        late = "e2e-guard-late"
        spec = PodAdmissionSpec("e2e-beta", "beta", {"kubernetes.io/metadata.name": late}, "v1beta1")
        items = [pod_policy(spec), pod_policy_binding(spec)]
        guarded.stack.make_namespace(late)
        try:
            for item in items:
                admin.apply_raw(path_of(item), json.dumps(item).encode())
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "late", "namespace": late}}
            admin.apply(account)

            def check() -> None:
                found = pod_entries(guarded, late, serviceAccountName="late")
                if found != ["beta"]:
                    raise NotYet(f"entries: {found}")

            until(check, DEADLINE, "the policy in force")
            assert pod_entries(guarded, late) == [OTHERS_ENTRY, "beta"]
        finally:
            for item in items:
                admin.call("DELETE", path_of(item))
            guarded.stack.delete_namespace(late)

    def test_but_not_where_nobody_opted_in(self, guarded: Guarded) -> None:
        assert pod_entries(guarded, OUTSIDE) == [OTHERS_ENTRY]
        assert pod_entries(guarded, MINE, imagePullSecrets=[{"name": "own"}]) == ["own"]


class TestProgram:
    """The stack under its guard."""

    def test_nothing_is_left_to_change(self, guarded: Guarded) -> None:
        guarded.stack.configure(CONFIGURATION)
        guarded.stack.pulumi("preview", "--refresh", "--expect-no-changes")

    def test_the_audit_counts_pod_admission_as_bound(self, guarded: Guarded) -> None:
        guarded.stack.seed_all()
        guarded.stack.configure(CONFIGURATION)
        found = guarded.stack.audit("--wait", "60")
        assert found["green"], found
        assert {row["binding"] for row in found["rows"]} == {"admission"}

    def test_a_guard_that_would_deny_its_own_run_is_refused(self, guarded: Guarded) -> None:
        guard = {"mode": "deny", "labelers": {"users": ["somebody-else"]}}
        printed = guarded.stack.up({**CONFIGURATION, "guard": guard}, fails=True)
        assert "guard.labelers: found neither user 'pulumi'" in printed
        assert "nor one of its groups (platform-engineers, system:authenticated)" in printed

    def test_warn_lets_the_request_through(self, guarded: Guarded) -> None:
        guarded.stack.up({**CONFIGURATION, "guard": {**CONFIGURATION["guard"], "mode": "warn"}})

        def check() -> None:
            status, _ = guarded.who["platform admin"].attempt("PATCH", namespace(MINE), LABEL, MERGE)
            if status != 200:
                raise NotYet(f"the answer is still {status}")

        until(check, DEADLINE, "the guard warns only")
        guarded.stack.up(CONFIGURATION)
        until(lambda: in_force(guarded), DEADLINE, "the guard in force again")

"""A change of the stack file converges, also when its run is killed or fails, and harms nobody on the way.

What happens at each change is in test_change_table.py.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from local.controlplane import ControlPlane
from local.controlplane.waiting import NotYet
from pullsecrets.kube.marks import FINALIZER_PREFIX, STACK_ANNOTATION
from pullsecrets.tenancy.binding import DELIVERY_TIMEOUT_VARIABLE
from tests.e2e.stack import Stack, baseline, namespace
from tests.e2e.watching import settled, watching

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(900)]

NAME = "changes"
BASELINE = baseline(NAME)
ADOPTED, AUTH, USER = "changes-adopted", "changes-auth-dev", "changes-user-dev"
FANOUT = "/apis/external-secrets.io/v1/clusterexternalsecrets/changes-app"
NAMESPACE, COMPONENT = "kubernetes:core/v1:Namespace", "pullsecrets:index:TenantNamespace"
BINDING = "pulumi-python:dynamic/pullsecrets:ImagePullSecretBinding"
State = dict[str, Any]
"""A resource as state holds it."""


def registries(index: int = 0, **change: Any) -> dict[str, Any]:
    """The configuration with one registry changed."""
    found = copy.deepcopy(BASELINE["registries"])
    found[index].update(change)
    return {"registries": found}


def tenants(
    *, adopted: Mapping[str, Any] | None = None, matrix: Mapping[str, Any] | None = None, **change: Any
) -> dict[str, Any]:
    """The configuration with other tenants; namespaces are kept unless it says otherwise."""
    found = {**copy.deepcopy(BASELINE["tenants"]), "onLeave": "keep"}
    found["namespaces"][0].update(adopted or {})
    found["matrices"][0].update(matrix or {})
    found.update(change)
    return {"tenants": found}


def renamed() -> dict[str, Any]:
    """The first registry under another name, with the credential where it was."""
    registry = registries(name="changes-renamed", path="changes/registries/changes-app")
    names = {"registries": ["changes-renamed", "changes-web"]}
    return {**registry, **tenants(adopted=names, matrix={"registries": ["changes-renamed"]})}


def by_name(adopt: bool) -> dict[str, Any]:
    """The namespaces of the matrix one by one."""
    found = tenants(matrices=[])
    found["tenants"]["namespaces"] += [
        {"name": name, "registries": ["changes-app"], "adopt": adopt} for name in (AUTH, USER)
    ]
    return found


@pytest.fixture(scope="module")
def seeded(plane: ControlPlane) -> Iterator[Stack]:
    """A stack of these tests' own, with its credentials in Vault."""
    stack = Stack(plane, plane.layout.state / NAME, NAME, BASELINE)
    with stack.clean(ADOPTED, AUTH, USER):
        stack.make_namespace(ADOPTED)
        stack.seed_all()
        yield stack
        begin(stack)


@pytest.fixture
def running(seeded: Stack) -> Stack:
    """The stack with every tenant able to pull, namespaces kept."""
    begin(seeded)
    settled(seeded)
    return seeded


def begin(stack: Stack) -> None:
    """Bring the stack to where each test begins, with the namespaces that it creates its own again."""
    for name in (AUTH, USER):
        found = stack.find(namespace(name))
        if found and STACK_ANNOTATION not in found["metadata"].get("annotations", {}):
            stack.delete_namespace(name)
    stack.deployed_as(tenants())


class TestKilled:
    """A run that is killed in the middle of a change leaves everybody able to pull, and a rerun finishes it."""

    @pytest.mark.parametrize("moment", ["a namespace has the new label", "the fan-out selects by it"])
    @pytest.mark.parametrize("selector", [{"changes.platform/other": "true"}, {"changes.platform/app": "yes"}])
    def test_a_selector_that_changes(self, running: Stack, moment: str, selector: dict[str, str]) -> None:
        change = {**tenants(), **registries(selector=selector)}

        def reached() -> None:
            labels = running.get(namespace(AUTH))["metadata"]["labels"]
            selectors = running.get(FANOUT)["spec"]["namespaceSelectors"]
            by_it = selectors == [{"matchLabels": selector}]
            if not (by_it if "fan-out" in moment else selector.items() <= labels.items()):
                raise NotYet(f"{AUTH} has {labels}, selected is by {selectors}")

        with watching(running, AUTH, USER, ADOPTED) as seen:
            running.configure(change)
            running.kill_when(reached)
            running.up(change)
            settled(running)
        assert not seen.lapsed
        for name in (AUTH, USER, ADOPTED):
            labels = running.get(namespace(name))["metadata"]["labels"]
            assert selector.items() <= labels.items()
            former = BASELINE["registries"][0]["selector"]
            assert not former.items() <= labels.items(), "the former label goes last, and goes"
        assert running.get(FANOUT)["spec"]["namespaceSelectors"] == [{"matchLabels": selector}]


class TestRename:
    """Another name for a registry converges in one run."""

    def test_bound_to_the_new_name_alone_and_no_finalizer_left(self, running: Stack) -> None:
        running.up({**tenants(), **renamed()})
        running.pulumi("preview", "--refresh", "--expect-no-changes")
        assert running.entries(AUTH) == ["changes-renamed"]
        assert "changes-app" not in running.entries(ADOPTED)
        for name in (AUTH, USER, ADOPTED):
            finalizers = running.get(namespace(name))["metadata"].get("finalizers", [])
            assert f"{FINALIZER_PREFIX}changes-app" not in finalizers

    def test_a_new_name_that_is_not_delivered_leaves_the_old_one_bound(
        self, running: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # It never is, so that there is nothing to wait for.
        monkeypatch.setitem(running.workspace.environment, DELIVERY_TIMEOUT_VARIABLE, "2s")
        change = {**renamed(), **registries(name="changes-renamed", path="changes/registries/nobody-seeded")}
        with watching(running, AUTH) as seen:
            printed = running.up(change, fails=True)
        assert "is not Ready after 2 s" in printed
        assert not seen.lapsed
        assert running.entries(AUTH) == ["changes-app"]
        assert "changes-renamed" not in running.entries(ADOPTED)


class TestNamespace:
    """The namespace itself outlives every move."""

    def test_it_stays_when_its_tenant_leaves_and_comes_back(self, running: Stack) -> None:
        uid = running.get(namespace(AUTH))["metadata"]["uid"]
        printed = running.up(tenants(matrices=[]))
        assert "tenants that are removed; they lose their pull Secrets" in printed
        left = running.get(namespace(AUTH))["metadata"]
        assert left["uid"] == uid
        assert "changes.platform/app" not in left.get("labels", {})
        assert not left.get("finalizers")
        running.up(tenants())
        settled(running)
        assert running.get(namespace(AUTH))["metadata"]["uid"] == uid

    def test_made_again_by_hand_it_is_taken_back(self, running: Stack) -> None:
        running.delete_namespace(AUTH)
        running.make_namespace(AUTH)
        running.up(tenants())
        settled(running)
        assert running.entries(AUTH)[-1] == "changes-app"

    def test_deleted_by_hand_it_is_created_again(self, running: Stack) -> None:
        running.delete_namespace(USER)
        running.up(tenants())
        settled(running)
        assert running.entries(USER) == ["changes-app"]

    def test_labels_and_annotations_of_others_stay(self, running: Stack) -> None:
        theirs = {"pod-security.kubernetes.io/enforce": "baseline", "istio-injection": "enabled"}
        change = {"metadata": {"labels": theirs, "annotations": {"team": "shop"}}}
        # As `kubectl label` writes: the Kubernetes provider takes over what such managers own.
        running.admin.call(
            "PATCH", f"{namespace(AUTH)}?fieldManager=kubectl-label", change, "application/merge-patch+json"
        )
        running.up(tenants(matrix={"labels": {"cost-center": "42"}, "annotations": {"owner": "a"}}))
        found = running.get(namespace(AUTH))["metadata"]
        assert {**theirs, "cost-center": "42"}.items() <= found["labels"].items()
        assert {"team": "shop", "owner": "a"}.items() <= found["annotations"].items()
        running.up(tenants())
        found = running.get(namespace(AUTH))["metadata"]
        assert theirs.items() <= found["labels"].items()
        assert "cost-center" not in found["labels"]
        assert "owner" not in found["annotations"]
        assert found["annotations"]["team"] == "shop"


class TestForeseen:
    """The preview says what will happen, and a stack can refuse it."""

    def test_a_preview_names_who_leaves_and_who_joins(self, running: Stack) -> None:
        change = tenants(matrix={"services": ["auth", "more"]})
        running.configure(change)
        printed = running.pulumi("preview")
        assert re.search(rf"warning: tenants that are removed; .*: {USER}\n", printed)
        assert re.search(r"pull Secret changes-app is delivered to: changes-more-dev\n", printed)

    def test_a_change_that_hurts_is_refused_and_nothing_changes(self, running: Stack) -> None:
        running.up(tenants(onLeave="delete"))
        before = running.resources()
        change = {**tenants(matrices=[], onLeave="delete"), "guard": {"changes": "refuse"}}
        for command in (("preview",), ("up", "--yes", "--skip-preview")):
            running.configure(change)
            printed = running.pulumi(*command, fails=True)
            assert f"namespaces that are DELETED with everything in them (tenants.onLeave: delete): {AUTH}" in printed
            assert "guard.changes is 'refuse'" in printed
        assert running.resources() == before

    def test_a_change_that_does_not_hurt_is_not_refused(self, running: Stack) -> None:
        running.up({**tenants(matrix={"labels": {"team": "shop"}}), "guard": {"changes": "refuse"}})

    def test_other_network_access_is_told(self, running: Stack) -> None:
        running.configure({**tenants(), "vault": {**BASELINE["vault"], "egress": {"cidrs": ["127.0.0.0/8"]}}})
        assert "warning: ESO's network access changes" in running.pulumi("preview")

    def test_a_namespace_that_is_labelled_by_hand_and_would_lose_its_secret_is_named(self, running: Stack) -> None:
        running.make_namespace("changes-by-hand", BASELINE["registries"][0]["selector"])
        running.configure({**tenants(), **registries(selector={"changes.platform/other": "true"})})
        printed = running.pulumi("preview")
        assert "former label of changes-app and lose its Secret: changes-by-hand" in printed
        running.delete_namespace("changes-by-hand")

    def test_nothing_changes_and_nothing_is_said(self, running: Stack) -> None:
        running.configure(tenants())
        printed = running.pulumi("preview", "--expect-no-changes")
        assert "pull Secret" not in printed


class TestStateOfAnEarlierVersion:
    """It holds each tenant in a component, bound apart; before that, as a Namespace that goes once not declared."""

    def import_as(self, stack: Stack, *shapes: Callable[[list[State]], list[State]]) -> Stack:
        """Give the stack its state in an earlier shape."""
        state = json.loads(stack.pulumi("stack", "export"))
        for shape in shapes:
            state["deployment"]["resources"] = shape(state["deployment"]["resources"])
        file = stack.workspace.root / "earlier.json"
        file.write_text(json.dumps(state), encoding="utf-8")
        stack.pulumi("stack", "import", "--force", "--file", str(file))
        return stack

    @pytest.fixture
    def one_by_one(self, running: Stack) -> Stack:
        """The stack with a component and a binding for each tenant."""
        return self.import_as(running, bound_one_by_one)

    @pytest.fixture
    def earlier(self, running: Stack) -> Stack:
        """The stack with a Namespace resource for each tenant too."""
        return self.import_as(running, bound_one_by_one, as_namespaces)

    @pytest.mark.parametrize("shape", ["one_by_one", "earlier"])
    def test_it_moves_without_a_moment_without_a_secret(self, request: pytest.FixtureRequest, shape: str) -> None:
        stack: Stack = request.getfixturevalue(shape)
        uid = stack.get(namespace(AUTH))["metadata"]["uid"]
        with watching(stack, AUTH, USER, ADOPTED) as seen:
            # The second run drops the former resources, which are no namespaces' end any more.
            for _ in range(2):
                stack.up(tenants())
            settled(stack)
        assert not seen.lapsed
        assert stack.get(namespace(AUTH))["metadata"]["uid"] == uid
        state = stack.pulumi("stack", "export")
        for former in (NAMESPACE, COMPONENT, BINDING):
            assert f'"{former}"' not in state
        stack.pulumi("preview", "--expect-no-changes")

    def test_a_tenant_that_leaves_at_once_is_unbound_and_nobody_else(self, one_by_one: Stack) -> None:
        with watching(one_by_one, AUTH, ADOPTED) as seen:
            one_by_one.up(tenants(matrix={"services": ["auth"]}))
        assert not seen.lapsed
        assert one_by_one.entries(USER) == []

    def test_a_namespace_that_is_adopted_in_the_same_run_stays(self, earlier: Stack) -> None:
        with watching(earlier, AUTH, USER) as seen:
            for _ in range(2):
                earlier.up(by_name(adopt=True))
            settled(earlier)
        assert not seen.lapsed

    def test_a_tenant_that_leaves_in_the_same_run_stops_it(self, earlier: Stack) -> None:
        printed = earlier.up(tenants(matrices=[]), fails=True)
        assert f"{AUTH}, {USER} left the stack file, and this stack's state is of an earlier version" in printed
        assert earlier.find(namespace(AUTH))


def bound_one_by_one(resources: list[State]) -> list[State]:
    """Return a state in which each tenant is a component with labels and a binding of its own."""
    stack, found, moved = resources[0]["urn"], list[State](), dict[str, list[str]]()
    for item in resources:
        dynamic = item["type"].startswith("pulumi-python:")
        if dynamic and item["type"].endswith(":NamespaceOptIn"):
            component = item["urn"].partition("::pulumi-python")[0] + f"::{COMPONENT}::{item['inputs']['namespace']}"
            outputs = {"namespace_name": item["inputs"]["namespace"]}
            found.append({"urn": component, "custom": False, "type": COMPONENT, "parent": stack, "outputs": outputs})
            moved[item["urn"]] = [inside(item)]
            found.append({**item, "urn": inside(item), "parent": component})
        elif dynamic and item["type"].endswith(":ImagePullSecretBindings"):
            bindings = [bound_alone(item, *bound) for bound in item["outputs"]["namespaces"].items()]
            moved[item["urn"]] = [binding["urn"] for binding in bindings]
            found += bindings
        else:
            found.append(item)
    return following(found, moved)


def inside(item: State) -> str:
    """Return the URN of a resource inside its tenant's component."""
    return item["urn"].replace("::pulumi-python", f"::{COMPONENT}$pulumi-python")


def bound_alone(bindings: State, name: str, bound: dict[str, Any]) -> State:
    """Return the state of one tenant's binding."""
    inputs = {"__provider": bindings["inputs"]["__provider"], "namespace": name, **bound}
    outputs = {**inputs, "bound": bound["service_accounts"], "missing": []}
    head = bindings["urn"].partition("::pulumi-python")[0]
    labels = f"{head}::{COMPONENT}$pulumi-python:dynamic/pullsecrets:NamespaceOptIn::{name}-labels"
    return {
        **{key: bindings[key] for key in ("custom", "provider")},
        "urn": f"{head}::{COMPONENT}${BINDING}::{name}-binding",
        "id": name,
        "type": BINDING,
        "parent": f"{head}::{COMPONENT}::{name}",
        "inputs": inputs,
        "outputs": outputs,
        "dependencies": [labels, *(urn for urn in bindings["dependencies"] if "NamespaceOptIn" not in urn)],
    }


def following(resources: list[State], moved: Mapping[str, Sequence[str]]) -> list[State]:
    """Have dependencies name resources where they are now."""
    for item in resources:
        item["dependencies"] = [now for urn in item.get("dependencies", []) for now in moved.get(urn, [urn])]
    return resources


def as_namespaces(resources: list[State]) -> list[State]:
    """Return a state in which created namespaces are the Kubernetes provider's, and bindings have no labels."""
    provider = next(item["provider"] for item in resources if item["type"].endswith(":ClusterExternalSecret"))
    urns = [item["urn"] for item in resources]
    for item in resources:
        as_namespace(item, provider)
        if item["type"] == BINDING:
            for kept in (item["inputs"], item["outputs"]):
                del kept["labels"]
    moved = {was: [item["urn"]] for was, item in zip(urns, resources, strict=True) if item["urn"] != was}
    assert len(moved) == 2
    return following(resources, moved)


def as_namespace(item: State, provider: str) -> None:
    """Turn the state of a created namespace's labels into that of a Namespace resource; leave anything else alone."""
    if not (item["type"].endswith("NamespaceOptIn") and item["inputs"].get("owner")):
        return
    owner = {STACK_ANNOTATION: item["inputs"]["owner"]}
    metadata = {"name": item["inputs"]["namespace"], "labels": item["inputs"]["labels"], "annotations": owner}
    shape = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    urn = re.sub(
        r"pulumi-python:dynamic/pullsecrets:NamespaceOptIn::(.*)-labels$",
        rf"{NAMESPACE}::\1-namespace",
        item["urn"],
    )
    item.update(type=NAMESPACE, urn=urn, provider=provider, inputs=shape, outputs=shape)

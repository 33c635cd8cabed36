"""No change of the stack file takes a pull Secret from a running tenant, but where it says so.

`CHANGES` is the table of docs/operations.md, "What happens when you change ...": each change is made on the real
control plane, and every moment is watched in which a Pod could not have pulled. Changes that do not touch each other
are made by one update, each to a registry and tenants of its own.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.controlplane import ControlPlane
from local.controlplane.waiting import NotYet, until
from pullsecrets.kube.marks import FINALIZER_PREFIX, STACK_ANNOTATION
from pullsecrets.tenancy.binding import DELIVERY_TIMEOUT_VARIABLE
from tests.components.program import REPOSITORY
from tests.e2e.stack import ADOPTED, BASELINE, DEADLINE, Stack, namespace, secret
from tests.e2e.watching import Seen, watching

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(900)]

AUTH, USER = "e2e-auth-dev", "e2e-user-dev"
FANOUT = "/apis/external-secrets.io/v1/clusterexternalsecrets/e2e-app"
NOTHING = "nothing"
FORCED = "external-secrets.io/force-sync"


TOGETHER, STORE, ROLE, DELETE = "together", "store", "role", "delete"
STEPS: dict[str, Mapping[str, Any]] = {
    TOGETHER: {},
    STORE: {"eso": {"store": "vault-rows-2", "networkPolicy": "eso-allow-egress-to-vault-rows"}},
    ROLE: {
        "vault": {
            "mount": "secret",
            "auth": {"mount": "kubernetes-rows", "role": "external-secrets-rows-2"},
            "egress": {"cidrs": ["127.0.0.0/8"]},
        }
    },
    DELETE: {},
}
"""The updates that make the changes, one after the other, with what each replaces for the whole stack."""
SHARED = "shared"


@dataclass(frozen=True)
class Row:
    """A change, and what Pods notice of it in the namespaces that are there for it.

    A registry's are two, a created one and an adopted one; a tenant's own change has one of its kind.
    """

    name: str
    """Of the namespaces, and of the registry if that is what changes."""
    step: str = TOGETHER
    registry: Mapping[str, Any] | None = None
    """What the registry then says otherwise."""
    matrix: Mapping[str, Any] | None = field(default_factory=dict[str, Any])
    """What the created namespace's matrix then says otherwise; None when it is gone."""
    listed: Mapping[str, Any] | None = None
    """What the created namespace then says among `tenants.namespaces`."""
    adopted: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the adopted namespace then says otherwise."""
    starting: bool = False
    """Whether a Pod that starts may not be able to pull."""
    running: bool = False
    """Whether a Pod that runs may not be able to pull again."""
    gone: tuple[str, ...] = ()
    """What is waited for to be gone."""

    @property
    def created(self) -> list[str]:
        """The namespace that is created."""
        return [f"rows-{self.name}-dev"] if self.registry is not None or not self.adopted else []

    @property
    def adopts(self) -> list[str]:
        """The one that is adopted."""
        return [f"rows-{self.name}"] if self.registry is not None or self.adopted else []

    @property
    def namespaces(self) -> list[str]:
        """Both."""
        return [*self.created, *self.adopts]

    def declared(self, *, changed: bool) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        """Return registry, namespaces and matrices in the stack file."""
        own = SHARED if self.registry is None else self.name
        registry = {
            "name": own,
            "hosts": [f"{own}.registry.example.com"],
            "path": f"rows/{own}",
            "selector": {f"rows.platform/{own}": "true"},
            "namespaces": ["rows-*"],
            **(self.registry or {} if changed else {}),
        }
        granted = {"registries": [registry["name"]]}
        pattern = {"services": [self.name], "environments": ["dev"], "pattern": "rows-{service}-{environment}"}
        matrices = [{**pattern, **granted} for _ in self.created]
        listed = [{"name": name, "adopt": True, "serviceAccounts": ["builder"], **granted} for name in self.adopts]
        if not changed:
            return registry, listed, matrices
        listed = [{**item, **self.adopted} for item in listed]
        if self.listed is not None:
            listed += [{"name": name, **granted, **self.listed} for name in self.created]
        return registry, listed, [] if self.matrix is None else [{**item, **self.matrix} for item in matrices]


def whole_stack(step: str) -> Row:
    """A change of the whole stack, which nobody notices in any of the namespaces."""
    return Row("", step)


CHANGES: dict[str, Row] = {
    "`registries[].name`": Row(
        "name",
        registry={"name": "renamed"},
        running=True,
        gone=(secret("rows-name", "name"), secret("rows-name-dev", "name")),
    ),
    "`registries[].selector`: another label": Row("label", registry={"selector": {"rows.platform/other": "true"}}),
    "`registries[].selector`: another value": Row("value", registry={"selector": {"rows.platform/value": "yes"}}),
    "`registries[].path`": Row("path", registry={"path": "rows/moved"}),
    "`registries[].refresh`, `owner`, `hosts`, `namespaces`": Row(
        "further",
        registry={
            "refresh": "30m",
            "owner": "others",
            "hosts": ["b.registry.example.com"],
            "namespaces": ["rows-*", "more-*"],
        },
    ),
    "`registries[].delivery`": Row("delivery", registry={"delivery": "fanout"}),
    "`eso.store`": whole_stack(STORE),
    "`vault.auth.role`, `vault.egress`": whole_stack(ROLE),
    "a tenant between `namespaces` and `matrices`": Row("between", matrix=None, listed={}),
    "`adopt: true` for a created namespace": Row("adopt", matrix=None, listed={"adopt": True}),
    "`adopt: false` for an adopted namespace": Row("create", adopted={"adopt": False}),
    "a tenant's `labels` and `annotations`": Row(
        "labels", matrix={"labels": {"team": "shop"}, "annotations": {"contact": "shop@example.com"}}
    ),
    "a tenant's `serviceAccounts`": Row("accounts", adopted={"serviceAccounts": ["runner"]}),
    "a tenant's `registries`: one more": Row("more", matrix={"registries": [SHARED, "further"]}),
    "a tenant's `registries`: one less": Row(
        "less", matrix={"registries": []}, starting=True, running=True, gone=(secret("rows-less-dev", SHARED),)
    ),
    "a tenant leaves, `tenants.onLeave: keep`": Row(
        "keep", matrix=None, starting=True, running=True, gone=(secret("rows-keep-dev", SHARED),)
    ),
    "a tenant leaves, `tenants.onLeave: delete`": Row(
        "delete", DELETE, matrix=None, starting=True, running=True, gone=(namespace("rows-delete-dev"),)
    ),
}
ROWS = [row for row in CHANGES.values() if row.name]
PATHS = ["rows/moved", f"rows/{SHARED}", *(f"rows/{row.name}" for row in ROWS if row.registry)]


def steps_until(step: str) -> list[str]:
    """The steps before one."""
    return [*STEPS][: [*STEPS].index(step)]


def configuration(*done: str) -> dict[str, Any]:
    """The stack file when these steps are done."""
    declared = [row.declared(changed=row.step in done) for row in ROWS]
    config: dict[str, Any] = {
        "cluster": {"name": "rows"},
        "vault": {
            "mount": "secret",
            "auth": {"mount": "kubernetes-rows", "role": "external-secrets-rows"},
            "egress": {"cidrs": ["127.0.0.1/32"]},
        },
        "eso": {"store": "vault-rows", "networkPolicy": "eso-allow-egress-to-vault-rows"},
        "registries": [*{registry["name"]: registry for registry, _, _ in declared}.values()],
        "tenants": {
            "protect": False,
            # Before a tenant can leave with its namespace, a run has to know that it may.
            "onLeave": "delete" if ROLE in done else "keep",
            "namespaces": [item for _, listed, _ in declared for item in listed],
            "matrices": [item for _, _, matrices in declared for item in matrices],
        },
        "gate": "warn",
    }
    for step in done:
        config.update(STEPS[step])
    return config


def documented() -> dict[str, tuple[str, str]]:
    """The table of the page: for each change what Pods that start and Pods that run notice."""
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("## What happens when you change ...")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines() if line[:2] == "| "]
    return {row[0].strip(): (row[1], row[2]) for row in rows[1:]}


def test_the_page_has_each_change_and_says_what_is_measured() -> None:
    page = documented()
    assert list(page) == list(CHANGES)
    for change, row in CHANGES.items():
        assert tuple(cell != NOTHING for cell in page[change]) == (row.starting, row.running), change


@pytest.fixture(scope="module")
def observed(plane: ControlPlane) -> Iterator[dict[str, Seen]]:
    """What was seen in each step, made on a stack of their own."""
    stack = Stack(plane, plane.layout.state / "rows", "rows", configuration())
    clear(stack)
    entries = stack.plane.vault("root").secrets.kv.v2
    for path in PATHS:
        login = json.loads(stack.credential(SHARED, stack.new_password()))
        entries.create_or_update_secret(path, {"dockerconfigjson": json.dumps(login)}, mount_point="secret")
    for row in ROWS:
        for name in row.adopts:
            stack.make_namespace(name)
    stack.up()
    settled(stack)
    yield {step: observe(stack, step) for step in STEPS}
    clear(stack)


def clear(stack: Stack) -> None:
    """Remove all that belongs to the stack, of an earlier run too."""
    stack.configure()
    stack.pulumi("destroy", "--yes", "--skip-preview")
    stack.delete_namespace(*(name for row in ROWS for name in row.namespaces))
    entries = stack.plane.vault("root").secrets.kv.v2
    for path in PATHS:
        entries.delete_metadata_and_all_versions(path, mount_point="secret")


def observe(stack: Stack, step: str) -> Seen:
    """Make a step's changes while every namespace is watched that can pull, and see that no namespace is another."""
    before = steps_until(step)
    gone = [path for row in ROWS if row.step == step for path in row.gone]
    names = {name: namespace(name) for row in ROWS for name in row.namespaces}
    uids = {name: stack.get(path)["metadata"]["uid"] for name, path in names.items() if path not in gone}
    able = [name for row in ROWS if not (row.step in before and row.starting) for name in row.namespaces]
    with watching(stack, *able) as seen:
        stack.up(configuration(*before, step))
        for path in gone:
            stack.gone(path)
        settled(stack)
    assert {name: stack.get(names[name])["metadata"]["uid"] for name in uids} == uids
    stack.pulumi("preview", "--expect-no-changes")
    return seen


@pytest.mark.parametrize("change", CHANGES)
def test_pods_notice_what_the_page_says(observed: dict[str, Seen], change: str) -> None:
    row = CHANGES[change]
    seen = observed[row.step]
    there = seen.namespaces & set(row.namespaces) if row.name else seen.namespaces
    assert (bool(seen.starting & there), bool(seen.running & there)) == (row.starting, row.running), seen


@pytest.mark.parametrize("step", STEPS)
def test_nobody_else_notices_anything(observed: dict[str, Seen], step: str) -> None:
    those = [row for row in ROWS if row.step == step and (row.starting or row.running)]
    assert lapses(observed[step]) <= {name for row in those for name in row.namespaces}


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
    registry = registries(name="e2e-renamed", path="e2e/registries/e2e-app")
    names = {"registries": ["e2e-renamed", "e2e-web"]}
    return {**registry, **tenants(adopted=names, matrix={"registries": ["e2e-renamed"]})}


def by_name(adopt: bool) -> dict[str, Any]:
    """The namespaces of the matrix one by one."""
    found = tenants(matrices=[])
    found["tenants"]["namespaces"] += [
        {"name": name, "registries": ["e2e-app"], "adopt": adopt} for name in (AUTH, USER)
    ]
    return found


@pytest.fixture(scope="module")
def seeded(stack: Stack, adopted: str) -> Iterator[Stack]:
    """The stack, and afterwards its tenants as other tests know them."""
    assert adopted
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


def settled(stack: Stack) -> None:
    """Wait until ESO has acted on everything that is declared: a Secret that would go has gone by then."""
    config = stack.config()
    forced = {registry.name: stack.force_sync(registry.name) for registry in config.registries}

    def acted(where: str, registry: str) -> None:
        source = stack.get(f"/apis/external-secrets.io/v1/namespaces/{where}/externalsecrets/{registry}")
        owners = [owner["uid"] for owner in stack.get(secret(where, registry))["metadata"]["ownerReferences"]]
        seen = source["metadata"].get("annotations", {}).get(FORCED)
        if seen != forced[registry] or source["metadata"]["uid"] not in owners:
            raise NotYet(f"{registry} in {where} is not what is declared now")

    for tenant in config.resolve_tenants():
        for registry in tenant.registries:
            until(lambda where=tenant.name, registry=registry: acted(where, registry), DEADLINE, "ESO has acted")


def lapses(seen: Seen) -> set[str]:
    """Namespaces in which some Pod could not have pulled."""
    return seen.starting | seen.running


class TestKilled:
    """A run that is killed in the middle of a change leaves everybody able to pull, and a rerun finishes it."""

    @pytest.mark.parametrize("moment", ["a namespace has the new label", "the fan-out selects by it"])
    @pytest.mark.parametrize("selector", [{"e2e.platform/other": "true"}, {"e2e.platform/app": "yes"}])
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
        assert not lapses(seen)
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
        assert running.entries(AUTH) == ["e2e-renamed"]
        assert "e2e-app" not in running.entries(ADOPTED)
        for name in (AUTH, USER, ADOPTED):
            finalizers = running.get(namespace(name))["metadata"].get("finalizers", [])
            assert f"{FINALIZER_PREFIX}e2e-app" not in finalizers

    def test_a_new_name_that_is_not_delivered_leaves_the_old_one_bound(
        self, running: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # It never is, so that there is nothing to wait for.
        monkeypatch.setitem(running.workspace.environment, DELIVERY_TIMEOUT_VARIABLE, "2s")
        change = {**renamed(), **registries(name="e2e-renamed", path="e2e/registries/nobody-seeded")}
        with watching(running, AUTH) as seen:
            printed = running.up(change, fails=True)
        assert "is not Ready after 2 s" in printed
        assert not lapses(seen)
        assert running.entries(AUTH) == ["e2e-app"]
        assert "e2e-renamed" not in running.entries(ADOPTED)


class TestNamespace:
    """The namespace itself outlives every move."""

    def test_it_stays_when_its_tenant_leaves_and_comes_back(self, running: Stack) -> None:
        uid = running.get(namespace(AUTH))["metadata"]["uid"]
        printed = running.up(tenants(matrices=[]))
        assert "tenants that are removed; they lose their pull Secrets" in printed
        left = running.get(namespace(AUTH))["metadata"]
        assert left["uid"] == uid
        assert "e2e.platform/app" not in left.get("labels", {})
        assert not left.get("finalizers")
        running.up(tenants())
        settled(running)
        assert running.get(namespace(AUTH))["metadata"]["uid"] == uid

    def test_made_again_by_hand_it_is_taken_back(self, running: Stack) -> None:
        running.delete_namespace(AUTH)
        running.make_namespace(AUTH)
        running.up(tenants())
        settled(running)
        assert running.entries(AUTH)[-1] == "e2e-app"

    def test_deleted_by_hand_it_is_created_again(self, running: Stack) -> None:
        running.delete_namespace(USER)
        running.up(tenants())
        settled(running)
        assert running.entries(USER) == ["e2e-app"]

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
        assert re.search(r"pull Secret e2e-app is delivered to: e2e-more-dev\n", printed)

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
        running.make_namespace("e2e-by-hand", BASELINE["registries"][0]["selector"])
        running.configure({**tenants(), **registries(selector={"e2e.platform/other": "true"})})
        printed = running.pulumi("preview")
        assert "former label of e2e-app and lose its Secret: e2e-by-hand" in printed
        running.delete_namespace("e2e-by-hand")

    def test_nothing_changes_and_nothing_is_said(self, running: Stack) -> None:
        running.configure(tenants())
        printed = running.pulumi("preview", "--expect-no-changes")
        assert "pull Secret" not in printed


class TestStateOfAnEarlierVersion:
    """It holds created namespaces as resources of the Kubernetes provider, which deletes what is not declared."""

    @pytest.fixture
    def earlier(self, running: Stack) -> Stack:
        """The stack with its state in that shape."""
        state = json.loads(running.pulumi("stack", "export"))
        found = state["deployment"]["resources"]
        provider = next(item["provider"] for item in found if item["type"].endswith(":ClusterExternalSecret"))
        urns = [item["urn"] for item in found]
        for item in found:
            as_namespace(item, provider)
        changed = {was: item["urn"] for was, item in zip(urns, found, strict=True) if item["urn"] != was}
        for item in found:
            item["dependencies"] = [changed.get(urn, urn) for urn in item.get("dependencies", [])]
            if item["type"].endswith("ImagePullSecretBinding"):
                for kept in (item["inputs"], item["outputs"]):
                    kept.pop("labels", None)
        assert len(changed) == 2
        file = running.workspace.root / "earlier.json"
        file.write_text(json.dumps(state), encoding="utf-8")
        running.pulumi("stack", "import", "--force", "--file", str(file))
        return running

    def test_it_moves_without_a_moment_without_a_secret(self, earlier: Stack) -> None:
        uid = earlier.get(namespace(AUTH))["metadata"]["uid"]
        with watching(earlier, AUTH, USER, ADOPTED) as seen:
            # The second run drops the former resources, which are no namespaces' end any more.
            for _ in range(2):
                earlier.up(tenants())
            settled(earlier)
        assert not lapses(seen)
        assert earlier.get(namespace(AUTH))["metadata"]["uid"] == uid
        assert "kubernetes:core/v1:Namespace" not in earlier.pulumi("stack", "export")
        earlier.pulumi("preview", "--expect-no-changes")

    def test_a_namespace_that_is_adopted_in_the_same_run_stays(self, earlier: Stack) -> None:
        with watching(earlier, AUTH, USER) as seen:
            for _ in range(2):
                earlier.up(by_name(adopt=True))
            settled(earlier)
        assert not lapses(seen)

    def test_a_tenant_that_leaves_in_the_same_run_stops_it(self, earlier: Stack) -> None:
        printed = earlier.up(tenants(matrices=[]), fails=True)
        assert f"{AUTH}, {USER} left the stack file, and this stack's state is of an earlier version" in printed
        assert earlier.find(namespace(AUTH))


def as_namespace(item: dict[str, Any], provider: str) -> None:
    """Turn the state of a created namespace's labels into that of a Namespace resource; leave anything else alone."""
    if not (item["type"].endswith("NamespaceOptIn") and item["inputs"].get("owner")):
        return
    owner = {STACK_ANNOTATION: item["inputs"]["owner"]}
    metadata = {"name": item["inputs"]["namespace"], "labels": item["inputs"]["labels"], "annotations": owner}
    shape = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    token = "kubernetes:core/v1:Namespace"
    urn = re.sub(
        r"pulumi-python:dynamic/pullsecrets:NamespaceOptIn::(.*)-labels$", rf"{token}::\1-namespace", item["urn"]
    )
    item.update(type=token, urn=urn, provider=provider, inputs=shape, outputs=shape)

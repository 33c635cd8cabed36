"""No change of the stack file takes a pull Secret from a running tenant, but where it says so.

`CHANGES` is the table of docs/operations.md, "What happens when you change ...": each change is made on the real
control plane, and every moment is watched in which a Pod could not have pulled. Changes that do not touch each other
are made by one update, each to a registry and tenants of its own.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from local.controlplane import ControlPlane
from tests.components.program import REPOSITORY
from tests.e2e.stack import Stack, namespace, secret
from tests.e2e.watching import Seen, settled, watching

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(900)]

NOTHING = "nothing"


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
    assert observed[step].lapsed <= {name for row in those for name in row.namespaces}

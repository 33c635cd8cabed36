"""What the next run would do to running tenants is told from what state holds and what is declared."""

import copy
from typing import Any

import pytest

from pullsecrets.config import StackConfig, parse
from pullsecrets.errors import BadInputError
from pullsecrets.manifests import builders
from pullsecrets.tenancy import changes
from pullsecrets.tenancy.changes import Before, Change
from tests.unit.config.test_config import GOOD

OPT_IN = "pulumi-python:dynamic/pullsecrets:NamespaceOptIn"
BINDING = "pulumi-python:dynamic/pullsecrets:ImagePullSecretBinding"
RELEASE = "pulumi-python:dynamic/pullsecrets:NamespaceRelease"
NAMESPACE = "kubernetes:core/v1:Namespace"
FANOUT = "kubernetes:external-secrets.io/v1:ClusterExternalSecret"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"


def configured(**change: Any) -> StackConfig:
    return parse({**copy.deepcopy(GOOD), **change}, "test")


def state_of(config: StackConfig) -> list[dict[str, Any]]:
    """The resources that state holds once a configuration is deployed, as far as they are read."""
    egress = builders.egress(builders.EgressSpec.of(config))
    found = [{"type": POLICY, "outputs": egress}]
    for registry in config.registries:
        spec = builders.PullSecretSpec.of(config, registry)
        found.append({"type": FANOUT, "outputs": builders.cluster_external_secret(spec)})
    for tenant in config.resolve_tenants():
        selectors = {name: config.registry(name).selector for name in tenant.registries}
        owner, delete = None if tenant.adopt else "p/test", config.tenants.on_leave == "delete"
        outputs = {"namespace": tenant.name, "registries": selectors, "owner": owner, "delete": delete}
        found.append({"type": OPT_IN, "outputs": outputs})
    namespaces = {tenant.name: {"secrets": list(tenant.registries)} for tenant in config.resolve_tenants()}
    return [*found, {"type": f"{BINDING}s", "outputs": {"namespaces": namespaces}}]


def foreseen(now: StackConfig, was: StackConfig | None = None, **labels: dict[str, str]) -> list[Change]:
    return changes.foresee(Before.of(state_of(was or configured())), now, labels)


def tenants(*names: str, **settings: Any) -> dict[str, Any]:
    return {"namespaces": [{"name": name, "registries": ["app"], **settings} for name in names]}


def test_nothing_changes_and_nothing_is_foreseen() -> None:
    assert foreseen(configured()) == []


def test_a_new_stack_hurts_nobody() -> None:
    found = changes.foresee(Before.of([]), configured(), {})
    assert [str(change) for change in found if not change.affects_others] == [
        "pull Secret app is delivered to: apps-one"
    ]
    assert not any(change.hurts for change in found)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("keep", "keep", "tenants that are removed"),
        ("keep", "delete", "tenants that are removed"),
        ("delete", "delete", "namespaces that are DELETED"),
        ("delete", "keep", "namespaces that are DELETED"),
    ],
)
def test_who_leaves_is_named_with_what_the_last_run_declared_of_it(before: str, now: str, told: str) -> None:
    was = configured(tenants={**tenants("apps-one"), "onLeave": before})
    found = foreseen(configured(tenants={**tenants("apps-two"), "onLeave": now}), was)
    assert found[0].hurts
    assert str(found[0]).startswith(told)
    assert found[0].namespaces == ("apps-one",)


def test_a_namespace_that_others_created_is_never_among_the_deleted() -> None:
    was = configured(tenants={**tenants("apps-one", adopt=True), "onLeave": "delete"})
    found = foreseen(configured(tenants={"onLeave": "delete"}), was)
    assert "DELETED" not in "".join(map(str, found))


def test_moves_between_created_and_adopted_hurt_nobody() -> None:
    created, adopted = configured(tenants=tenants("apps-one")), configured(tenants=tenants("apps-one", adopt=True))
    for now, was in ((created, adopted), (adopted, created)):
        (change,) = foreseen(now, was)
        assert (change.hurts, change.namespaces) == (False, ("apps-one",))


def test_a_registry_that_is_taken_from_a_tenant_is_named() -> None:
    (change,) = foreseen(configured(tenants=tenants("apps-one", registries=[])))
    assert change == Change("pull Secret app is removed from", True, ("apps-one",))


def test_another_name_of_a_registry_is_told_as_such() -> None:
    first, *others = copy.deepcopy(GOOD["registries"])
    now = configured(registries=[{**first, "name": "new"}, *others], tenants=tenants("apps-one", registries=["new"]))
    hurting, joining = foreseen(now)
    assert "pull Secret app is replaced by new; running Pods keep the old name" in str(hurting)
    assert not joining.hurts


def test_namespaces_that_nobody_declares_lose_a_secret_with_the_label() -> None:
    first, *others = copy.deepcopy(GOOD["registries"])
    now = configured(registries=[{**first, "selector": {"apps.example/other": "yes"}}, *others])
    former = configured().registry("app").selector
    (change,) = foreseen(now, by_hand=former, both={**former, "apps.example/other": "yes"}, neither={})
    assert (change.hurts, change.namespaces) == (True, ("by_hand",))


def test_another_way_out_to_vault_is_told() -> None:
    vault = {**GOOD["vault"], "egress": {"cidrs": ["192.0.2.0/24"]}}
    (change,) = foreseen(configured(vault=vault))
    assert change.hurts
    assert "192.0.2.0/24" in str(change)


def test_an_egress_that_is_new_is_told_for_the_sake_of_other_stores() -> None:
    (change,) = (change for change in changes.foresee(Before(), configured(), {}) if change.affects_others)
    assert "what its other stores read needs a NetworkPolicy of its own in namespace external-secrets" in str(change)
    assert not change.hurts
    assert not any(
        change.affects_others for change in foreseen(configured(vault={"address": GOOD["vault"]["address"]}))
    )


def test_many_namespaces_are_counted() -> None:
    text = str(Change("gone", True, tuple(f"ns-{index:02}" for index in range(12))))
    assert text.endswith("ns-09 and 2 more")


class TestStateOfAnEarlierVersion:
    BEFORE = Before.of(
        [
            {"type": NAMESPACE, "outputs": {"metadata": {"name": "apps-one"}}},
            {"type": BINDING, "outputs": {"namespace": "apps-one", "secrets": ["app"]}},
        ]
    )

    def test_its_tenants_are_known(self) -> None:
        assert self.BEFORE.tenants == {"apps-one": {"app"}}
        assert self.BEFORE.created == self.BEFORE.handing_over == {"apps-one"}

    def test_what_is_bound_apart_is_handed_over_until_it_is_bound_with_all_others(self) -> None:
        assert self.BEFORE.bound_apart == {"apps-one"}
        release = {"type": RELEASE, "outputs": {"namespace": "apps-two", "registries": ["app"]}}
        together = {"type": f"{BINDING}s", "outputs": {"namespaces": {"apps-one": {"secrets": ["web"]}}}}
        binding = {"type": BINDING, "outputs": {"namespace": "apps-one", "secrets": ["app"]}}
        before = Before.of([binding, release, together])
        assert before.bound_apart == {"apps-two"}
        assert before.tenants["apps-one"] == {"web"}

    def test_components_of_tenants_are_known(self) -> None:
        assert not self.BEFORE.wrapped
        assert Before.of([{"type": "pullsecrets:index:TenantNamespace"}]).wrapped

    def test_one_that_leaves_at_once_is_refused(self) -> None:
        changes.require_handed_over(self.BEFORE, configured())
        with pytest.raises(BadInputError, match="apps-one left the stack file"):
            changes.require_handed_over(self.BEFORE, configured(tenants={}))


@pytest.mark.parametrize("mode", ["warn", "refuse"])
def test_only_what_hurts_is_refused_and_only_where_the_stack_wants_that(mode: str) -> None:
    config = configured(guard={"changes": mode})
    changes.require_harmless(config, [Change("joins", False)])
    if mode == "warn":
        changes.require_harmless(config, [Change("leaves", True)])
    else:
        with pytest.raises(changes.ChangeRefusedError, match=r"leaves\nguard.changes is 'refuse'"):
            changes.require_harmless(config, [Change("leaves", True)])

"""Offboarding plans what is ours alone, refuses what would hurt, and leaves others' things where they are."""

import copy
from typing import Any

import pytest

from pullsecrets.config import StackConfig, parse
from pullsecrets.errors import BadInputError, ExitCode, PullSecretsError
from pullsecrets.kube import objects
from pullsecrets.kube.marks import FINALIZER_PREFIX
from pullsecrets.tenancy import binding, offboard
from tests.unit import delivered
from tests.unit.cluster import FakeCluster
from tests.unit.config.test_config import GOOD

NAMESPACE = "/api/v1/namespaces/apps-one"
ACCOUNT = f"{NAMESPACE}/serviceaccounts/default"
SECRET = f"{NAMESPACE}/secrets/app"
EXTERNAL = "/apis/external-secrets.io/v1"
OURS = [delivered.owner("ExternalSecret", "app")]


def configured(**change: Any) -> StackConfig:
    return parse({**copy.deepcopy(GOOD), **change}, "dev")


def namespace(labels: dict[str, str] | None = None, *finalizers: str, **metadata: Any) -> tuple[str, dict[str, Any]]:
    found = {"name": "apps-one", "labels": labels or {}, "finalizers": list(finalizers), "resourceVersion": "1"}
    return NAMESPACE, {"metadata": {**found, **metadata}, "spec": {"finalizers": ["kubernetes"]}}


def account(*entries: str) -> tuple[str, dict[str, Any]]:
    metadata = {"name": "default", "namespace": "apps-one", "resourceVersion": "1"}
    return ACCOUNT, {"metadata": metadata, "imagePullSecrets": [{"name": entry} for entry in entries]}


def secret(owners: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    metadata = {"name": "app", "namespace": "apps-one", "ownerReferences": owners}
    return SECRET, {"metadata": metadata, "type": "kubernetes.io/dockerconfigjson"}


def external_secret(owner: str | None) -> tuple[str, dict[str, Any]]:
    owners = [delivered.owner("ClusterExternalSecret", owner)] if owner else []
    metadata = {
        "name": "app",
        "namespace": "apps-one",
        "ownerReferences": owners,
        "resourceVersion": "1",
    }
    return f"{EXTERNAL}/namespaces/apps-one/externalsecrets/app", {"metadata": metadata}


def pod(image: str) -> tuple[str, dict[str, Any]]:
    metadata = {"name": "app-1", "namespace": "apps-one", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return f"{NAMESPACE}/pods/app-1", {"metadata": metadata, "spec": {"containers": [{"image": image}]}}


def nothing(_step: str) -> None:
    """Nobody listens."""


LABEL = {"apps.example/app": "true"}
FINALIZER = f"{FINALIZER_PREFIX}app"


class TestPlan:
    def test_it_is_what_is_ours(self) -> None:
        cluster = FakeCluster(
            namespace({**LABEL, "team": "a"}, FINALIZER, "example.com/theirs"), account("theirs", "app"), secret(OURS)
        )
        found = offboard.plan(configured(), cluster, "apps-one")
        assert found.labels == ("apps.example/app",)
        assert found.service_accounts == ("default",)
        assert (found.secrets, found.foreign_secrets) == (("app",), ())
        assert (found.finalizers, found.other_finalizers) == ((FINALIZER,), ("example.com/theirs",))
        assert not cluster.sent

    def test_a_secret_of_others_stays_and_so_do_the_entries_for_it(self) -> None:
        found = offboard.plan(configured(), FakeCluster(namespace(), account("app"), secret([])), "apps-one")
        assert (found.foreign_secrets, found.service_accounts) == (("app",), ())
        assert found.nothing_to_do

    def test_an_external_secret_that_somebody_else_made_stays_with_its_secret(self) -> None:
        cluster = FakeCluster(namespace(), account("app"), secret(OURS), external_secret(None))
        found = offboard.plan(configured(), cluster, "apps-one")
        assert (found.external_secrets, found.secrets, found.foreign_secrets) == ((), (), ("app",))
        assert (found.service_accounts, found.nothing_to_do) == ((), True)

    def test_a_namespace_that_does_not_exist_is_nothing_to_do(self) -> None:
        found = offboard.plan(configured(), FakeCluster(), "apps-gone")
        assert (found.exists, found.nothing_to_do) == (False, True)

    def test_a_declared_tenant_says_what_to_remove(self) -> None:
        found = offboard.plan(configured(), FakeCluster(namespace()), "apps-one")
        assert found.declarations == ("tenants.namespaces[0]: remove the entry 'apps-one'",)

    def test_one_of_two_registries_is_removed_from_the_list(self) -> None:
        config = configured(tenants={"namespaces": [{"name": "apps-one", "registries": ["app", "web"]}]})
        (said,) = offboard.declared_in(config, "apps-one", [config.registry("web")])
        assert said == "tenants.namespaces[0]: remove web from its registries"

    def test_a_product_of_a_matrix_names_its_service_and_what_goes_along(self) -> None:
        matrix = {
            "services": ["one", "two"],
            "environments": ["dev", "prod"],
            "pattern": "apps-{service}-{environment}",
            "registries": ["app"],
        }
        config = configured(tenants={"matrices": [matrix]})
        (said,) = offboard.declared_in(config, "apps-two-prod", config.registries)
        assert said.startswith("tenants.matrices[0].services: remove 'two' (which also takes its other environments")
        assert not [*offboard.declared_in(config, "apps-three-prod", config.registries)]


class TestLabels:
    @pytest.fixture
    def shared(self) -> StackConfig:
        registries = copy.deepcopy(GOOD["registries"])
        registries[1]["selector"] = {**LABEL, "apps.example/web": "true"}
        return configured(registries=registries)

    def test_a_label_that_another_registry_needs_stays(self, shared: StackConfig) -> None:
        labels = {**LABEL, "apps.example/web": "true"}
        assert offboard.removable_labels(shared, [shared.registry("web")], labels) == ("apps.example/web",)

    def test_a_registry_whose_label_grants_another_cannot_leave_alone(self, shared: StackConfig) -> None:
        labels = {**LABEL, "apps.example/web": "true"}
        with pytest.raises(BadInputError, match=r"its label apps\.example/app also grants web; name those too"):
            offboard.removable_labels(shared, [shared.registry("app")], labels)
        assert len(offboard.removable_labels(shared, shared.registries, labels)) == 2

    def test_a_label_of_another_value_is_somebody_elses(self) -> None:
        config = configured()
        assert offboard.removable_labels(config, config.registries, {"apps.example/app": "maybe"}) == ()


class TestRefusals:
    def test_pods_that_would_lose_their_pulls(self) -> None:
        cluster = FakeCluster(namespace(LABEL), account("app"), secret(OURS), pod("registry.example.com/a:1"))
        with pytest.raises(
            offboard.StillUsedError, match="1 still pull from or mount app, web: Pod app-1; nothing was changed"
        ):
            offboard.require_unused(offboard.plan(configured(), cluster, "apps-one"))

    def test_a_pod_that_mounts_the_secret_counts_wherever_its_image_comes_from(self) -> None:
        path, builder = pod("docker.io/library/kaniko:1")
        builder["spec"]["volumes"] = [{"name": "login", "secret": {"secretName": "app"}}]
        cluster = FakeCluster(namespace(LABEL), account("app"), secret(OURS), (path, builder))
        with pytest.raises(offboard.StillUsedError, match="1 still pull from or mount app, web: Pod app-1"):
            offboard.require_unused(offboard.plan(configured(), cluster, "apps-one"))
        theirs = FakeCluster(namespace(LABEL), account("app"), secret([]), (path, builder))
        offboard.require_unused(offboard.plan(configured(), theirs, "apps-one"))

    @pytest.mark.parametrize("spec", [{"completions": 1}, {"parallelism": 3}])
    def test_a_finished_job_does_not_count(self, spec: dict[str, Any]) -> None:
        image = {"template": {"spec": {"containers": [{"image": "registry.example.com/a:1"}]}}}
        metadata = {"name": "done", "namespace": "apps-one"}
        status = {"conditions": [{"type": "Complete", "status": "True"}]}
        job = {"metadata": metadata, "spec": {**spec, **image}, "status": status}
        path = "/apis/batch/v1/namespaces/apps-one/jobs/done"
        cluster = FakeCluster(namespace(LABEL), account("app"), secret(OURS), (path, job))
        offboard.require_unused(offboard.plan(configured(), cluster, "apps-one"))
        running = FakeCluster(namespace(LABEL), account("app"), secret(OURS), (path, {**job, "status": {}}))
        with pytest.raises(offboard.StillUsedError, match="Job done"):
            offboard.require_unused(offboard.plan(configured(), running, "apps-one"))

    def test_pods_of_other_registries_do_not_count(self) -> None:
        cluster = FakeCluster(namespace(LABEL), account("app"), secret(OURS), pod("docker.io/library/a:1"))
        offboard.require_unused(offboard.plan(configured(), cluster, "apps-one"))

    def test_whatever_runs_in_a_namespace_that_is_to_be_deleted(self) -> None:
        cluster = FakeCluster(namespace(LABEL), account("app"), pod("docker.io/library/a:1"))
        planned = offboard.plan(configured(), cluster, "apps-one", delete=True)
        with pytest.raises(offboard.StillUsedError, match=r"1 still run there: Pod app-1; .*they are deleted too"):
            offboard.require_unused(planned)

    def test_pods_of_a_namespace_that_is_going_anyway_do_not_count(self) -> None:
        going = namespace(LABEL, deletionTimestamp="2026-01-01T00:00:00Z")
        cluster = FakeCluster(going, secret(OURS), pod("registry.example.com/a:1"))
        offboard.require_unused(offboard.plan(configured(), cluster, "apps-one"))

    @pytest.mark.parametrize("name", ["kube-system", "default", "external-secrets", "elsewhere"])
    def test_deleting_what_no_registry_may_be_delivered_to(self, name: str) -> None:
        with pytest.raises(BadInputError, match=f"--delete: found '{name}'; allowed: .*apps-\\*, web-\\*"):
            offboard.plan(configured(), FakeCluster(), name, delete=True)

    def test_deleting_a_namespace_that_others_own(self) -> None:
        config = configured(tenants={"namespaces": [{"name": "apps-one", "adopt": True, "registries": ["app"]}]})
        with pytest.raises(BadInputError, match="is its owner's"):
            offboard.plan(config, FakeCluster(), "apps-one", delete=True)

    def test_deleting_for_one_registry_only(self) -> None:
        config = configured()
        with pytest.raises(BadInputError, match="leave --registry out"):
            offboard.plan(config, FakeCluster(), "apps-one", [config.registry("app")], delete=True)


class TestCarryOut:
    def test_a_guard_is_named_before_anything_was_changed(self) -> None:
        cluster = FakeCluster(namespace(LABEL, FINALIZER), account("theirs", "app"), secret(OURS))
        denied = "ValidatingAdmissionPolicy 'pull-secrets-dev-opt-in-labels' with binding 'x' denied request: no"
        cluster.refuse["PATCH", NAMESPACE] = (403, denied)
        config = configured()
        planned = offboard.plan(config, cluster, "apps-one")
        with pytest.raises(
            PullSecretsError, match=r"the guard, .*'pull-secrets-dev-opt-in-labels', does not let"
        ) as told:
            offboard.carry_out(config, cluster, planned, 1, nothing)
        assert told.value.exit_code is ExitCode.PROBLEM
        assert cluster.sent == [("PATCH", NAMESPACE)], "a dry run alone"
        assert objects.entries_of(cluster.objects[ACCOUNT]) == ["theirs", "app"]

    def test_what_does_not_go_is_named_with_its_cause(self) -> None:
        cluster = FakeCluster(namespace(LABEL), account("app"), secret(OURS), external_secret("app"))
        config = configured()
        with pytest.raises(PullSecretsError, match="still there: ExternalSecret app, Secret app; ESO removes"):
            offboard.carry_out(config, cluster, offboard.plan(config, cluster, "apps-one"), 0, nothing)

    def test_an_external_secret_that_somebody_else_made_is_not_waited_for(self) -> None:
        cluster = FakeCluster(namespace(LABEL, FINALIZER), account("app"), secret(OURS), external_secret(None))
        config = configured()
        offboard.carry_out(config, cluster, offboard.plan(config, cluster, "apps-one"), 0, nothing)
        assert objects.entries_of(cluster.objects[ACCOUNT]) == ["app"], "their Secret stays, and so does the entry"
        assert cluster.objects[NAMESPACE]["metadata"]["finalizers"] == []
        assert SECRET in cluster.objects

    def test_entries_go_before_the_label(self) -> None:
        cluster = FakeCluster(namespace(LABEL, FINALIZER), account("theirs", "app"))
        config = configured()
        offboard.carry_out(config, cluster, offboard.plan(config, cluster, "apps-one"), 1, nothing)
        assert [path for _, path in cluster.sent] == [NAMESPACE, ACCOUNT, NAMESPACE, NAMESPACE]
        assert objects.entries_of(cluster.objects[ACCOUNT]) == ["theirs"]
        assert cluster.objects[NAMESPACE]["metadata"]["labels"] == {}
        assert cluster.objects[NAMESPACE]["metadata"]["finalizers"] == []


class TestReleaseAbandoned:
    """What `pulumi destroy` does to a namespace before it deletes it."""

    FANOUT = (
        f"{EXTERNAL}/clusterexternalsecrets/app",
        {"metadata": {"name": "app"}, "spec": {"namespaceSelectors": [{"matchLabels": LABEL}]}},
    )

    def test_eso_keeps_its_finalizer_where_it_selects_the_namespace(self) -> None:
        cluster = FakeCluster(namespace(LABEL, FINALIZER), self.FANOUT)
        binding.release_abandoned(cluster, "apps-one", ["app"])
        assert cluster.objects[NAMESPACE]["metadata"]["finalizers"] == [FINALIZER]

    @pytest.mark.parametrize("fanout", [(), (FANOUT,)])
    def test_it_goes_where_eso_does_not_and_others_stay(self, fanout: tuple[Any, ...]) -> None:
        cluster = FakeCluster(namespace({}, "example.com/theirs", FINALIZER), *fanout)
        binding.release_abandoned(cluster, "apps-one", ["app", "web"])
        assert cluster.objects[NAMESPACE]["metadata"]["finalizers"] == ["example.com/theirs"]

    def test_a_namespace_that_is_gone_is_left_gone(self) -> None:
        cluster = FakeCluster()
        binding.release_abandoned(cluster, "apps-one", ["app"])
        assert not cluster.sent

"""Adoption compares logins as the kubelet reads them, refuses what would lose one, and keeps what it touches."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.adoption import adopt, backups, cleanup, undo
from pullsecrets.adoption.adopt import Migration, Seeded, Terms
from pullsecrets.adoption.handmade import Verdict, read_entries, read_hand_made
from pullsecrets.credential.document import DockerConfig, RegistryLogin
from pullsecrets.credential.vault import EntryMetadata, VaultClient
from pullsecrets.errors import BadInputError, ConflictError
from pullsecrets.kube.client import KubernetesApiError
from pullsecrets.kube.objects import entries_of
from pullsecrets.workloads.references import list_users
from tests.unit.cluster import FakeCluster
from tests.unit.tenancy.test_offboard import (
    FINALIZER,
    LABEL,
    OURS,
    account,
    configured,
    external_secret,
    namespace,
    nothing,
    pod,
)

PULL_TYPE = "kubernetes.io/dockerconfigjson"
FANOUT = ("/apis/external-secrets.io/v1/clusterexternalsecrets/app", {"metadata": {"name": "app"}})
CANARY = "s3cr3t-canary"
SECRETS = "/api/v1/namespaces/apps-one/secrets"
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: ":" not in text)


def auths(password: str = CANARY, *hosts: str) -> dict[str, Any]:
    entry = {"auth": base64.b64encode(f"bot:{password}".encode()).decode()}
    return dict.fromkeys(hosts or ("registry.example.com",), entry)


def seeded() -> Seeded:
    document = json.dumps({"auths": auths()})
    return Seeded("0" * 16, document, read_entries(document.encode()) or ())


def made(
    name: str, content: Mapping[str, Any], *, manager: str = "kubectl-create", **fields: Any
) -> tuple[str, dict[str, Any]]:
    text = json.dumps({"auths": content})
    metadata = {
        "name": name,
        "namespace": "apps-one",
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "managedFields": [{"manager": manager}],
    }
    data = {".dockerconfigjson": base64.b64encode(text.encode()).decode()}
    return f"{SECRETS}/{name}", {"type": PULL_TYPE, "data": data, "metadata": metadata, **fields}


class FakeVault:
    """KV v2 in memory: versions by path, guarded by check-and-set."""

    def __init__(self) -> None:
        self.versions: dict[str, list[dict[str, str]]] = {}
        self.custom: dict[str, dict[str, str]] = {}

    def read_metadata(self, _mount: str, path: str) -> EntryMetadata | None:
        if path not in self.versions:
            return None
        return EntryMetadata(len(self.versions[path]), True, False, 10, self.custom.get(path, {}))

    def read_version(self, _mount: str, path: str, version: int) -> dict[str, str]:
        return self.versions[path][version - 1]

    def write_with_cas(self, _mount: str, path: str, data: dict[str, str], version: int) -> int:
        assert version == len(self.versions.get(path, []))
        self.versions.setdefault(path, []).append(data)
        return version + 1

    def patch_metadata(self, _mount: str, path: str, custom: dict[str, str]) -> None:
        self.custom.setdefault(path, {}).update(custom)

    def list_names(self, _mount: str, path: str) -> tuple[str, ...]:
        return tuple(where.rpartition("/")[2] for where in self.versions if where.rpartition("/")[0] == path)

    def as_client(self) -> VaultClient:
        return cast("VaultClient", self)


def migration(cluster: FakeCluster, vault: FakeVault | None = None) -> Migration:
    config = configured()
    return Migration(config, cluster, (vault or FakeVault()).as_client(), config.registry("app"))


def problems(*secrets: tuple[str, dict[str, Any]], terms: Terms | None = None) -> tuple[str, ...]:
    cluster = FakeCluster(FANOUT, namespace(), account("app"), *secrets)
    (found,) = adopt.plan(migration(cluster), seeded(), (), terms)
    return found.problems


def digests(document: str, *, old: bool = False) -> list[tuple[str, str]]:
    return [(entry.host, entry.digest) for entry in read_entries(document.encode(), old=old) or ()]


class TestLogins:
    @given(TEXT, TEXT)
    def test_what_seed_would_store_is_read_as_the_same_login(self, user: str, password: str) -> None:
        stored = DockerConfig({"registry.example.com": RegistryLogin(user, password)}).to_json()
        by_hand = {"https://registry.example.com/v2/": {"username": user, "password": password}}
        found = digests(json.dumps({"auths": by_hand}))
        assert len(found) == 1
        assert digests(stored) == found == digests(json.dumps(by_hand), old=True)

    @pytest.mark.parametrize("document", ["", "[]", "not json", '{"auths": []}', '{"auths": {"h": {"auth": "%"}}}'])
    def test_what_the_kubelet_refuses_is_unreadable(self, document: str) -> None:
        assert read_entries(document.encode()) is None

    @pytest.mark.parametrize("document", ["{}", "null", '{"auths": {}}', '{"auths": {"h": {}, "i": null}}'])
    def test_an_entry_without_a_login_opens_nothing(self, document: str) -> None:
        assert read_entries(document.encode()) == ()

    def test_half_of_a_surrogate_pair_is_read_as_the_kubelet_reads_it(self) -> None:
        for fields in ({"username": "bot", "password": "\ud800"}, {"username": "\udc00", "password": CANARY}):
            assert len(digests(json.dumps({"auths": {"registry.example.com": fields}}))) == 1


def pulling(*images: str) -> tuple[str, dict[str, Any]]:
    containers = [{"name": str(index), "image": image} for index, image in enumerate(images)]
    metadata = {"name": "web", "namespace": "apps-one"}
    return "/api/v1/namespaces/apps-one/pods/web", {"metadata": metadata, "spec": {"containers": containers}}


class TestEntries:
    PATH = "registry.example.com/team-a"

    @pytest.mark.parametrize("name", ["app", "old"])
    @pytest.mark.parametrize("turned", [False, True])
    def test_another_login_for_a_path_is_not_dropped_whatever_the_order_of_keys(self, name: str, turned: bool) -> None:
        content = {**auths("other-canary", self.PATH), **auths()}
        (said,) = problems(made(name, dict(reversed(content.items())) if turned else content))
        assert f"Secret apps-one/{name}: other login under {self.PATH}, compared with" in said
        assert "canary" not in said

    def test_the_images_that_a_login_pulls_are_named(self) -> None:
        image = f"{self.PATH}/web:1"
        content = {**auths("other-canary", self.PATH), **auths()}
        cluster = FakeCluster(FANOUT, namespace(), account("app"), made("app", content), pulling(image, "nginx"))
        (found,) = adopt.plan(migration(cluster), seeded())
        assert f"other login under {self.PATH} ({image})" in found.problems[0]

    def test_the_same_login_under_every_key_is_the_same(self) -> None:
        keys = (self.PATH, "https://registry.example.com/v1/", "http://registry.example.com")
        assert problems(made("app", auths(CANARY, *keys))) == ()

    def test_a_wildcard_opens_more_than_ours_will(self) -> None:
        (said,) = problems(made("app", auths(CANARY, "*.example.com")))
        assert "also opens *.example.com, which nothing would open any more" in said

    def test_a_rejected_host_counts_where_an_image_in_use_names_it(self) -> None:
        secret = made("app", {**auths(), **auths(CANARY, "old.example.com")})
        assert problems(secret) == ()
        cluster = FakeCluster(FANOUT, namespace(), account("app"), secret, pulling("old.example.com/web:1"))
        (found,) = adopt.plan(migration(cluster), seeded())
        assert "also opens old.example.com (old.example.com/web:1), which nothing would" in found.problems[0]

    @pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "index.docker.io", "docker.io"])
    def test_docker_hub_is_found_under_the_keys_that_kubectl_and_docker_write(self, key: str) -> None:
        registry = configured().registry("app").model_copy(update={"hosts": ("docker.io",)})
        (found,) = read_hand_made(FakeCluster(made("old", auths(CANARY, key))), {"apps-one"}, [registry])
        ours = read_entries(json.dumps({"auths": auths(CANARY, "docker.io")}).encode()) or ()
        assert found.hosts == ("docker.io",)
        assert found.compared(registry, ours) is Verdict.SAME
        assert found.opens_besides(registry, ours, ["nginx", "team/app"]) == {}

    def test_one_namespaces_trouble_is_a_row_and_ends_nothing(self) -> None:
        odd = made("app", {"registry.example.com": {"username": "\udfff", "password": CANARY}})
        refused = made("old", auths())
        cluster = FakeCluster(FANOUT, namespace(), account("app"), odd, refused)
        cluster.refuse["GET", refused[0]] = (403, "forbidden")
        (found,) = adopt.plan(migration(cluster), seeded())
        assert [item.secret.name for item in found.found] == ["app", "old"]
        assert "other login" in found.problems[0]
        assert "Secret apps-one/old: you may not read it; run as one of the migrators" in found.problems[1]


OTHER_LOGIN, WIDER = auths("other-canary"), {**auths(), **auths("x", "other.example.com")}


class TestRefusals:
    @pytest.mark.parametrize(
        ("secret", "terms"),
        [
            (made("app", auths()), Terms()),
            (made("app", OTHER_LOGIN), Terms(other_login=True)),
            (made("old", WIDER), Terms()),  # one of another name keeps its other hosts
            (made("app", auths(), manager="our-script"), Terms(by_hand=("our-script",))),
            (made("app", auths(), immutable=True), Terms(gap=True)),
            (made("app", OTHER_LOGIN, type="Opaque"), Terms()),  # it serves no pull
        ],
    )
    def test_what_loses_nothing_or_is_consented_to_is_taken_over(
        self, secret: tuple[str, dict[str, Any]], terms: Terms
    ) -> None:
        assert problems(secret, terms=terms) == ()

    @pytest.mark.parametrize(
        ("secret", "cause"),
        [
            (made("app", OTHER_LOGIN), "Secret apps-one/app: other login .*--accept-other-login"),
            (made("app", WIDER), "also opens other.example.com"),
            (made("app", auths(), manager="helm"), "kept by Helm"),
            (made("app", auths(), manager="our-script"), "kept by .*our-script"),
            (made("app", auths(), immutable=True), "--accept-gap"),
        ],
    )
    def test_what_would_be_lost_or_fought_over_is_told(self, secret: tuple[str, dict[str, Any]], cause: str) -> None:
        (said,) = problems(secret)
        assert re.search(cause, said)
        assert "canary" not in said

    def test_without_a_fan_out_nothing_would_deliver(self) -> None:
        with pytest.raises(BadInputError, match="run `pulumi up` first"):
            adopt.plan(migration(FakeCluster(namespace())), seeded())

    @pytest.mark.parametrize("name", ["kube-system", "elsewhere"])
    def test_namespaces_that_may_not_have_the_registry(self, name: str) -> None:
        cluster = FakeCluster(FANOUT, (f"/api/v1/namespaces/{name}", {"metadata": {"name": name}}))
        with pytest.raises(BadInputError, match="may be delivered to apps-\\* only"):
            adopt.plan(migration(cluster), seeded(), [name])

    def test_secrets_of_other_registries_are_nobodys_business(self) -> None:
        other = made("other", auths("x", "other.example.com"))
        assert adopt.plan(migration(FakeCluster(FANOUT, namespace(), other)), seeded()) == []

    def test_ours_is_not_hand_made(self) -> None:
        path, ours = made("app", auths())
        ours["metadata"]["ownerReferences"] = OURS
        assert adopt.plan(migration(FakeCluster(FANOUT, namespace(), (path, ours))), seeded()) == []


def kept(vault: FakeVault, secret: dict[str, Any], *accounts: str) -> backups.Backup:
    config = configured()
    return backups.save(vault.as_client(), config, config.registry("app"), secret, accounts)


def read(vault: FakeVault, backup: backups.Backup) -> backups.Kept:
    return backups.read(vault.as_client(), configured(), backup)


class TestBackups:
    def test_a_second_run_writes_nothing_and_the_first_accounts_count(self) -> None:
        vault, (_, secret) = FakeVault(), made("old", auths())
        first = kept(vault, secret, "default")
        assert kept(vault, secret) == first
        assert first.path == "secret/registries/app-backups/apps-one/old"
        found = read(vault, first)
        assert found.service_accounts == ("default",)
        assert "canary" not in repr(found)
        assert base64.b64encode(b"bot:s3cr3t-canary").decode() not in repr(found)

    def test_other_content_is_a_new_version_beside_the_old(self) -> None:
        vault = FakeVault()
        assert [kept(vault, made("old", auths(password))[1]).version for password in ("one", "two")] == [1, 2]

    def test_accounts_that_a_run_before_has_moved_are_not_forgotten_with_other_content(self) -> None:
        vault = FakeVault()
        kept(vault, made("old", auths())[1], "default")
        again = kept(vault, made("old", auths("another"))[1], "builder", "default")
        assert read(vault, again).service_accounts == ("default", "builder")

    def test_a_write_whose_record_was_lost_is_repeated(self) -> None:
        vault, (_, secret) = FakeVault(), made("old", auths())
        kept(vault, secret)
        vault.custom.clear()
        assert kept(vault, secret).version == 2

    def test_what_was_kept_comes_back_as_it_was_and_never_over_something_else(self) -> None:
        vault, (path, secret) = FakeVault(), made("old", auths(), immutable=True)
        before = read(vault, kept(vault, secret))
        cluster = FakeCluster(namespace())
        assert backups.restore(cluster, before)
        restored = cluster.objects[path]
        assert (restored["data"], restored["type"], restored["immutable"]) == (secret["data"], PULL_TYPE, True)
        assert "uid" not in restored["metadata"]
        assert not backups.restore(cluster, before)
        cluster.objects[path]["data"] = {}
        with pytest.raises(ConflictError, match="there is one with other content"):
            backups.restore(cluster, before)


def written_meanwhile(times: int, content: str | None = None) -> FakeCluster:
    """A cluster where somebody writes the Opaque Secret between our reading it and our deleting it, this often."""
    cluster = FakeCluster(FANOUT, namespace(), account("app"), made("app", auths(), type="Opaque"))

    def meanwhile(method: str, path: str) -> None:
        if method == "DELETE" and cluster.sent.count((method, path)) <= times:
            live = cluster.objects[path]
            live["metadata"]["resourceVersion"] = str(int(live["metadata"]["resourceVersion"]) + 1)
            live["metadata"]["labels"] = {"reconcile.external-secrets.io/managed": "true"}
            live["data"] = {"x": content} if content else live["data"]

    cluster.before_write = meanwhile
    return cluster


def take_over(cluster: FakeCluster) -> dict[str, Any]:
    where = migration(cluster)
    adopt.carry_out(where, seeded(), adopt.plan(where, seeded()), 1, nothing, lambda *_: ())
    return cluster.objects[f"{SECRETS}/app"]


class TestReplacing:
    def test_a_label_that_eso_puts_on_meanwhile_stops_nothing(self) -> None:
        assert take_over(written_meanwhile(2))["type"] == PULL_TYPE

    def test_content_that_somebody_puts_in_meanwhile_is_left(self) -> None:
        cluster = written_meanwhile(1, "eA==")
        with pytest.raises(ConflictError, match="it was changed meanwhile"):
            take_over(cluster)
        assert cluster.objects[f"{SECRETS}/app"]["data"] == {"x": "eA=="}

    def test_it_ends_when_others_never_cease(self) -> None:
        with pytest.raises(ConflictError, match="apps-one/secrets/app: others changed it"):
            take_over(written_meanwhile(99))


class TestUndo:
    def test_a_secret_that_cleanup_removed_comes_back_with_the_entries_for_it(self) -> None:
        vault, (path, old) = FakeVault(), made("old", auths())
        cluster = FakeCluster(namespace(LABEL, FINALIZER), account("theirs", "app"))
        where = migration(cluster, vault)
        backups.save(where.vault, where.config, where.registry, old, ["default", "gone"])
        undo.carry_out(where, undo.plan(where, "apps-one"), 1, nothing)
        assert cluster.objects[path]["data"] == old["data"]
        assert entries_of(cluster.objects["/api/v1/namespaces/apps-one/serviceaccounts/default"]) == ["theirs", "old"]
        left = cluster.objects["/api/v1/namespaces/apps-one"]["metadata"]
        assert (left["labels"], left["finalizers"]) == ({}, [])

    def test_a_namespace_of_which_nothing_was_kept_is_refused(self) -> None:
        with pytest.raises(BadInputError, match="below secret/registries/app-backups/apps-one"):
            undo.plan(migration(FakeCluster(namespace())), "apps-one")


def test_nothing_that_is_shown_holds_content() -> None:
    (found,) = read_hand_made(FakeCluster(made("old", auths())), {"apps-one"}, configured().registries)
    assert found.compared(configured().registry("app"), seeded().entries) is Verdict.SAME
    assert "entries" not in repr(found)
    assert "data" not in repr(replace(found, name="other"))
    assert "canary" not in repr(seeded())


class TestCleanup:
    def run(self, *objects: tuple[str, dict[str, Any]]) -> tuple[FakeCluster, FakeVault, list[str]]:
        path, ours = made("app", auths())
        ours["metadata"]["ownerReferences"] = OURS
        cluster, vault = FakeCluster(namespace(LABEL, FINALIZER), (path, ours), *objects), FakeVault()
        steps: list[str] = []
        cleanup.carry_out(configured(), cluster, vault.as_client(), cleanup.plan(configured(), cluster), steps.append)
        return cluster, vault, steps

    def test_what_nothing_names_is_kept_and_goes(self) -> None:
        cluster, vault, _ = self.run(made("old", auths()), account("app"))
        assert f"{SECRETS}/old" not in cluster.objects
        assert f"{SECRETS}/app" in cluster.objects
        assert [*vault.versions] == ["registries/app-backups/apps-one/old"]

    def test_what_is_named_stays_and_is_not_even_kept(self) -> None:
        cluster, vault, _ = self.run(made("old", auths()), account("app", "old"))
        assert f"{SECRETS}/old" in cluster.objects
        assert not vault.versions

    def test_what_opens_another_host_too_stays(self) -> None:
        wider = made("push", auths(CANARY, "registry.example.com", "other.example.com"))
        cluster, vault, _ = self.run(wider, account("app"))
        assert f"{SECRETS}/push" in cluster.objects
        assert not vault.versions
        (found,) = cleanup.plan(configured(), cluster)
        assert found.stays == "also opens other.example.com, which nothing would open any more"

    def test_what_only_a_build_names_stays(self) -> None:
        strategy = {
            "dockerStrategy": {"pullSecret": {"name": "pull"}, "from": {"kind": "DockerImage", "name": "h/i:1"}}
        }
        spec = {"output": {"pushSecret": {"name": "push"}}, "source": {"secrets": [{"secret": {"name": "x"}}]}}
        metadata = {"name": "api", "namespace": "apps-one"}
        build = {"metadata": metadata, "spec": {**spec, "strategy": strategy}}
        root = "/apis/build.openshift.io/v1"
        where = f"{root}/namespaces/apps-one/buildconfigs/api"
        served = (root, {"kind": "APIResourceList"})
        cluster, _, _ = self.run(made("push", auths()), made("pull", auths()), (where, build), served)
        assert {f"{SECRETS}/push", f"{SECRETS}/pull"} <= cluster.objects.keys()
        assert [user.reads for user in list_users(cluster) if user.kind == "BuildConfig"] == [("pull", "push", "x")]

    def test_where_builds_are_not_served_they_are_not_asked_for(self) -> None:
        def denying(*objects: tuple[str, dict[str, Any]]) -> FakeCluster:
            cluster = FakeCluster(account("app"), *objects)
            cluster.refuse["GET", "buildconfigs"] = (403, "not for you")
            return cluster

        assert [str(user) for user in list_users(denying())] == ["ServiceAccount default"]
        with pytest.raises(KubernetesApiError, match="not for you"):
            list_users(denying(("/apis/build.openshift.io/v1", {"kind": "APIResourceList"})))

    def test_what_comes_to_be_named_meanwhile_stays(self) -> None:
        cluster = FakeCluster(namespace(LABEL), made("old", auths()), account("app"))
        path, ours = made("app", auths())
        ours["metadata"]["ownerReferences"] = OURS
        cluster.objects[path] = ours
        planned = cleanup.plan(configured(), cluster)
        where, late = pod("registry.example.com/a:1")
        late["spec"]["imagePullSecrets"] = [{"name": "old"}]
        cluster.objects[where] = late
        steps: list[str] = []
        cleanup.carry_out(configured(), cluster, FakeVault().as_client(), planned, steps.append)
        assert steps == ["left: Secret apps-one/old, which Pod app-1 names by now"]
        assert f"{SECRETS}/old" in cluster.objects

    def test_what_a_tenants_own_external_secret_keeps_is_not_ours(self) -> None:
        path, theirs = made("app", auths())
        theirs["metadata"]["ownerReferences"] = OURS
        cluster = FakeCluster(namespace(LABEL), made("old", auths()), (path, theirs), external_secret(None))
        stays = {item.name: item.stays for item in cleanup.plan(configured(), cluster)}
        assert stays == {
            "app": "kept by ExternalSecret app: remove it there",
            "old": "Secret app is not delivered there: `pull-secrets adopt` first",
        }

    def test_nothing_goes_where_ours_is_not_delivered(self) -> None:
        cluster = FakeCluster(namespace(LABEL), made("old", auths()))
        (found,) = cleanup.plan(configured(), cluster)
        assert found.stays == "Secret app is not delivered there: `pull-secrets adopt` first"

    def test_a_namespace_that_is_no_tenant_is_refused(self) -> None:
        with pytest.raises(BadInputError, match="neither declared in the stack nor labelled"):
            cleanup.plan(configured(), FakeCluster(), ["elsewhere"])

    def test_restoring_what_was_never_kept_is_refused(self) -> None:
        with pytest.raises(BadInputError, match="no backup of any Secret of namespace 'apps-one'"):
            cleanup.restore(configured(), FakeCluster(), FakeVault().as_client(), "apps-one", (), nothing)

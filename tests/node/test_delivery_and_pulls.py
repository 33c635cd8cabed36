"""What Pods notice of what the product does: one after another pulls all the while, each an image no node has had."""

import base64
import datetime as dt
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pytest

from local.controlplane.node.hosts import Fault
from local.controlplane.waiting import NotYet, until
from pullsecrets.credential.document import DockerConfig, RegistryLogin
from pullsecrets.credential.registry_login import LoginRefusedError, verify
from tests.e2e.stack import account, secret
from tests.node.conftest import REJECTED, NodeStack
from tests.node.messages import seen, shape
from tests.node.pulling import API, APP, SECONDS, Pods, Pulls
from tests.ops.by_hand import environment, free, login, make_namespace, make_secret

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(400)]

REGISTRY = "node-app"
NAMESPACES = ("node-auth-dev", "node-user-dev")


def rotate(stack: NodeStack, password: str) -> dict[str, Any]:
    acting = environment(stack, stack.operator)
    words = ("rotate", REGISTRY, "--from-file", "-", "--yes", "--json")
    done = stack.command(*words, stdin=stack.credential(REGISTRY, password), environment=acting)
    assert done.returncode == 0, done.stdout + done.stderr
    stack.passwords[REGISTRY] = password
    return json.loads(done.stdout)


def pulls_of(stack: NodeStack, *namespaces: str) -> Pulls:
    return Pulls(stack.admin, stack.node, APP, namespaces)


def doctor_on(stack: NodeStack, name: str) -> dict[str, Any]:
    """The doctor's finding of a check."""
    acting = environment(stack, stack.operator)

    def check() -> dict[str, Any]:
        done = stack.command("doctor", "--json", environment=acting)
        found = [item for item in json.loads(done.stdout)["diagnoses"] if item["check"] == name]
        if not found:
            raise NotYet(done.stdout)
        return found[0]

    return until(check, SECONDS, f"doctor finds {name}", every=1)


def test_a_rotation_whose_old_login_is_revoked_afterwards_fails_no_pull(stack: NodeStack) -> None:
    old, new = stack.passwords[REGISTRY], stack.new_password()
    with pulls_of(stack, *NAMESPACES).running() as pulls:
        user = stack.let_in(REGISTRY, new)
        rotate(stack, new)
        pulls.further()
        stack.revoke(REGISTRY, old)
        later = pulls.further(2)
    assert pulls.failures == []
    by = {pull.user for pull in stack.node.pulls(APP) if pull.succeeded and pull.repository.startswith("node-")}
    assert {user, stack.user_of(old)} <= by
    assert len(later) >= 4


def test_a_login_revoked_too_early_fails_every_pull_until_the_rotation(stack: NodeStack, pods: Pods) -> None:
    old, new = stack.passwords[REGISTRY], stack.new_password()
    stack.revoke(REGISTRY, old)
    waiting = pods.make(NAMESPACES[0], pods.fresh(APP))
    refused = pods.outcome(NAMESPACES[0], waiting)
    assert shape(refused.message) == seen("login refused")
    found = doctor_on(stack, "pod-cannot-pull")
    assert "refuses the seeded login" in found["causes"][0]
    stack.let_in(REGISTRY, new)
    rotate(stack, new)
    # The kubelet tries again by itself, and with what the Secret then holds.
    assert pods.outcome(NAMESPACES[0], waiting, not_before=("ErrImagePull", "ImagePullBackOff")).pulled


def test_a_secret_deleted_by_hand_comes_back_and_the_pod_that_met_it_gone_recovers(
    stack: NodeStack, pods: Pods
) -> None:
    stack.plane.stop("external-secrets")
    try:
        stack.admin.call("DELETE", secret(NAMESPACES[0], REGISTRY))
        waiting = pods.make(NAMESPACES[0], pods.fresh(APP))
        assert shape(pods.outcome(NAMESPACES[0], waiting).message) == seen("no credentials")
    finally:
        stack.plane.start("external-secrets")
    assert pods.outcome(NAMESPACES[0], waiting, not_before=("ErrImagePull", "ImagePullBackOff")).pulled


REFRESH_SECONDS, TOKEN_SECONDS, MISSED_REFRESHES = 2, 5, 10
FANOUT = f"/apis/external-secrets.io/v1/clusterexternalsecrets/{REGISTRY}"


@contextmanager
def hurried(stack: NodeStack) -> Iterator[None]:
    """Let ESO refresh every few seconds, with tokens of Vault that live little longer: what else takes a day."""
    vault, roles = stack.plane.vault("root"), f"auth/{stack.baseline['vault']['auth']['mount']}/role"
    interval = stack.get(FANOUT)["spec"]["externalSecretSpec"]["refreshInterval"]
    names = cast("dict[str, Any]", vault.list(roles))["data"]["keys"]
    lives = {name: cast("dict[str, Any]", vault.read(f"{roles}/{name}"))["data"]["token_ttl"] for name in names}

    def hurry(refresh: str, tokens: Mapping[str, int]) -> None:
        stack.patch(FANOUT, {"spec": {"externalSecretSpec": {"refreshInterval": refresh}}})
        for name, life in tokens.items():
            vault.write_data(f"{roles}/{name}", data={"token_ttl": life, "token_max_ttl": life})

    hurry(f"{REFRESH_SECONDS}s", dict.fromkeys(lives, TOKEN_SECONDS))
    try:
        yield
    finally:
        hurry(interval, lives)


def refreshed(stack: NodeStack) -> dt.datetime:
    """When ESO last compared a namespace's Secret with Vault."""
    found = stack.get(f"/apis/external-secrets.io/v1/namespaces/{NAMESPACES[0]}/externalsecrets/{REGISTRY}")
    return dt.datetime.fromisoformat(found["status"]["refreshTime"])


def require_refreshed_since(stack: NodeStack, moment: dt.datetime) -> None:
    if (last := refreshed(stack)) <= moment:
        raise NotYet(f"last refreshed {last}")


def require_down_for(seconds: float, since: dt.datetime) -> None:
    if (passed := (dt.datetime.now(dt.UTC) - since).total_seconds()) < seconds:
        raise NotYet(f"{passed:.0f} s")


def test_eso_being_down_for_longer_than_its_refreshes_and_its_tokens_fails_no_pull(stack: NodeStack) -> None:
    with hurried(stack), pulls_of(stack, *NAMESPACES).running() as pulls:
        began = dt.datetime.now(dt.UTC)
        until(lambda: require_refreshed_since(stack, began), SECONDS, "a refresh of this hurry", every=1)
        stack.plane.stop("external-secrets")
        try:
            last = refreshed(stack)
            missed = MISSED_REFRESHES * REFRESH_SECONDS
            until(lambda: require_down_for(missed, last), SECONDS, f"{MISSED_REFRESHES} refreshes missed", every=1)
            assert refreshed(stack) == last
            pulls.further(2)
        finally:
            stack.plane.start("external-secrets")
        until(lambda: require_refreshed_since(stack, last), SECONDS, "a refresh with a new token", every=1)
        pulls.further()
    assert pulls.failures == []


def test_a_namespace_that_moves_between_registries_pulls_from_the_one_that_it_is_in(
    stack: NodeStack, pods: Pods
) -> None:
    matrix = stack.baseline["tenants"]["matrices"][0]
    moved = [{**matrix, "registries": ["node-api"]}]
    stack.up({"tenants": {**stack.baseline["tenants"], "matrices": moved}})
    try:
        stack.get(secret(NAMESPACES[0], "node-api"))
        assert pods.pull(NAMESPACES[0], pods.fresh(API)).pulled
        stack.gone(secret(NAMESPACES[0], REGISTRY))
        assert shape(pods.pull(NAMESPACES[0], pods.fresh(APP)).message) == seen("no credentials")
    finally:
        stack.up()
    stack.get(secret(NAMESPACES[0], REGISTRY))
    assert pods.pull(NAMESPACES[0], pods.fresh(APP)).pulled


def test_a_pod_from_before_its_account_listed_the_secret_has_to_be_made_again(stack: NodeStack, pods: Pods) -> None:
    accounts = f"/api/v1/namespaces/{NAMESPACES[0]}/serviceaccounts"
    stack.admin.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "late", "namespace": NAMESPACES[0]}}
    )
    try:
        before = pods.make(NAMESPACES[0], pods.fresh(APP), service_account="late")
        assert shape(pods.outcome(NAMESPACES[0], before).message) == seen("no credentials")
        stack.patch(account(NAMESPACES[0], "late"), {"imagePullSecrets": [{"name": REGISTRY}]})
        after = pods.make(NAMESPACES[0], pods.fresh(APP), service_account="late")
        assert pods.outcome(NAMESPACES[0], after).pulled
        assert not pods.outcome(NAMESPACES[0], before).pulled
    finally:
        stack.admin.call("DELETE", f"{accounts}/late")


def test_a_list_of_its_own_replaces_the_accounts(pods: Pods) -> None:
    outcome = pods.pull(NAMESPACES[0], pods.fresh(APP), ["others"])
    assert shape(outcome.message) == seen("no credentials")
    assert pods.pull(NAMESPACES[0], pods.fresh(APP), ["others", REGISTRY]).pulled


def test_an_undecodable_secret_in_the_list_stands_in_the_way_of_all_others(stack: NodeStack, pods: Pods) -> None:
    broken = base64.b64encode(b'{"auths": {"' + APP.encode() + b'": {"auth": "not base64!"}}}').decode()
    stack.admin.call(
        "POST",
        f"/api/v1/namespaces/{NAMESPACES[0]}/secrets",
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "broken"},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": broken},
        },
    )
    try:
        beside = pods.pull(NAMESPACES[0], pods.fresh(APP), [REGISTRY, "broken"])
    finally:
        stack.admin.call("DELETE", secret(NAMESPACES[0], "broken"))
    assert shape(beside.message) == seen("undecodable Secret in the list")


def test_the_delivered_login_opens_no_other_host(pods: Pods) -> None:
    assert shape(pods.pull(NAMESPACES[0], pods.fresh(REJECTED)).message) == seen("no credentials")
    assert shape(pods.pull(NAMESPACES[0], pods.fresh(API)).message) == seen("no credentials")


def test_an_image_on_the_node_opens_with_the_reference_alone(stack: NodeStack, pods: Pods) -> None:
    """The kubelet verifies credentials for images that it has (KEP-2535, on by default from Kubernetes 1.35)."""
    image = pods.fresh(APP)
    assert pods.pull(NAMESPACES[0], image).pulled
    count = len(stack.node.pulls(APP))
    assert pods.pull(NAMESPACES[1], image, [REGISTRY], policy="IfNotPresent").pulled
    without = pods.pull(NAMESPACES[1], image, ["others"], policy="Never")
    assert (without.reason, shape(without.message)) == ("ErrImageNeverPull", seen("cached, without the reference"))
    assert len(stack.node.pulls(APP)) >= count


FAULTS = {
    "too many requests": (Fault(status=429), "limits pulls"),
    "unavailable": (Fault(status=503), "cannot serve now"),
    "certificate expired": (Fault(certificate="expired"), "does not trust the certificate"),
    "plain HTTP": (Fault(certificate="none"), "speaks plain HTTP, and the node TLS"),
}


@pytest.mark.parametrize(("name", "fault", "cause"), [(name, *rest) for name, rest in FAULTS.items()], ids=FAULTS)
def test_a_registry_in_trouble_is_told_in_the_kubelets_words_and_diagnosed_by_name(
    stack: NodeStack, pods: Pods, name: str, fault: Fault, cause: str
) -> None:
    image = pods.fresh(APP)
    with stack.node.fault(APP, fault):
        waiting = pods.make(NAMESPACES[0], image)
        assert shape(pods.outcome(NAMESPACES[0], waiting).message) == seen(name)
        # Pods of other tests may wait for something else.
        told = doctor_on(stack, "pod-cannot-pull")
        assert any(cause in text for text in told["causes"]), told
    # The kubelet tries again by itself.
    assert pods.outcome(NAMESPACES[0], waiting, not_before=("ErrImagePull", "ImagePullBackOff")).pulled


UNHARMED = {
    "slow": Fault(delay=1),
    "a mirror that refuses": Fault(status=403, mirror=True),
    "a mirror that serves, while the registry does not answer": Fault(mirror=True, unreachable=True),
    "login by token": Fault(tokens=True),
}


@pytest.mark.parametrize("fault", UNHARMED.values(), ids=UNHARMED)
def test_what_fails_no_pull(stack: NodeStack, pods: Pods, fault: Fault) -> None:
    image = pods.fresh(APP)
    with stack.node.fault(APP, fault):
        assert pods.pull(NAMESPACES[0], image).pulled
    repository, _, tag = image.partition("/")[2].rpartition(":")
    seen = [pull for pull in stack.node.pulls(APP) if (pull.repository, pull.reference) == (repository, tag)]
    # By way of the mirror, too: a login that names no server is given to any (containerd v2.4.2,
    # internal/cri/server/images/image_pull.go, ParseAuth).
    assert [pull.user for pull in seen if pull.succeeded] == [stack.user_of(stack.passwords[REGISTRY])]


def test_a_registry_that_asks_for_tokens_takes_the_login_from_the_check_and_from_the_kubelet_alike(
    stack: NodeStack, pods: Pods
) -> None:
    authority = stack.plane.layout.pki / "registries" / "ca.crt"
    password = stack.passwords[REGISTRY]
    with stack.node.fault(APP, Fault(tokens=True)) as address:
        credential = DockerConfig({address: RegistryLogin(stack.user_of(password), password)})
        assert [proof.tested for proof in verify(credential, authority)] == [True]
        stack.revoke(REGISTRY, password)
        with pytest.raises(LoginRefusedError, match=f"by its token service {address}"):
            verify(credential, authority)
        assert shape(pods.pull(NAMESPACES[0], pods.fresh(APP)).message) == seen("no token")


def test_an_image_that_is_not_there_is_no_matter_of_credentials(pods: Pods) -> None:
    outcome = pods.pull(NAMESPACES[0], f"{APP}/team/auth:{secrets.token_hex(4)}")
    assert shape(outcome.message) == seen("no such image")


def test_adopting_a_hand_made_secret_and_bringing_it_back_fails_no_pull(stack: NodeStack) -> None:
    where, old = "node-by-hand", stack.new_password()
    user = stack.let_in(REGISTRY, old)
    make_namespace(stack, where, REGISTRY)
    make_secret(stack, where, REGISTRY, login(old, APP, user), applied=True)
    try:
        with pulls_of(stack, where).running() as pulls:
            for words in ((where, "--accept-other-login"), ("--undo", where)):
                command = ("adopt", "--registry", REGISTRY, *words, "--yes")
                done = stack.command(*command, environment=environment(stack))
                assert done.returncode == 0, done.stdout + done.stderr
                pulls.further(2)
        assert pulls.failures == []
        users = [pull.user for pull in stack.node.pulls(APP) if pull.succeeded and pull.repository.startswith(where)]
        assert users[0] == users[-1] == user
        assert stack.user_of(stack.passwords[REGISTRY]) in users, "between the two it pulled with the delivered login"
    finally:
        free(stack, where)
        stack.revoke(REGISTRY, old)


def test_binding_at_admission_gives_each_new_pod_the_reference(stack: NodeStack, pods: Pods) -> None:
    unbound = "unbound"
    stack.up({"binding": "admission"})
    try:
        metadata = {"name": unbound, "namespace": NAMESPACES[0]}
        stack.admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})

        def pulls() -> None:
            name = pods.make(NAMESPACES[0], pods.fresh(APP), service_account=unbound)
            outcome = pods.outcome(NAMESPACES[0], name)
            if not outcome.pulled:
                # The API server takes a moment until a new policy is in force.
                raise NotYet(outcome.message)

        until(pulls, SECONDS, "a Pod with the reference", every=1)
        assert pods.pull(NAMESPACES[0], pods.fresh(APP), ["others"]).pulled
    finally:
        stack.up()
        stack.admin.call("DELETE", account(NAMESPACES[0], unbound))

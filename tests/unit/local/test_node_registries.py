"""The registries of the real node: what their logs tell, who may pull, where a node finds them, and what images are."""

import json

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.controlplane.layout import REGISTRY_HOSTS
from local.controlplane.node.registries import PUSHER, Pull, Registry, Users
from local.controlplane.pki import Authority
from local.paths import repository
from pullsecrets.config import load_stack

HOST = REGISTRY_HOSTS[-1]
AT = "2026-11-27T16:30:48.109634768Z"


@pytest.fixture
def registry(layout, ports):
    return Registry(layout, ports, Authority(layout.pki / "registries", "test"), HOST)


def request(message, *, number=1, method="HEAD", reference="1", more=None):
    common = {"http.request.id": str(number), "http.request.method": method, "time": AT, "msg": message}
    return {**common, "vars.name": "team/auth", "vars.reference": reference, **(more or {})}


def answered(status, user="bot", message="response completed", **how):
    return request(message, more={"http.response.status": status, "auth.user.name": user}, **how)


def failed_login(user):
    return request("user failed to authenticate", more={"username": user})


def refused(**how):
    return request('error authorizing context: basic authentication challenge for realm "x": failure', **how)


def logged(layout, *entries):
    layout.logs.mkdir(parents=True, exist_ok=True)
    (layout.logs / f"{HOST}.log").write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))


CASES = {
    "a pull is resolved, then read": (
        [refused(number=1), answered(200, number=2), answered(200, number=3, method="GET", reference="sha256:1")],
        [("HEAD", "1", "", 401), ("HEAD", "1", "bot", 200), ("GET", "sha256:1", "bot", 200)],
        1,
    ),
    "a login that is refused is named": (
        [failed_login("old"), refused()],
        [("HEAD", "1", "old", 401)],
        0,
    ),
    "a login that was refused before is not the next request's": (
        [failed_login("old"), refused(), refused(number=2)],
        [("HEAD", "1", "old", 401), ("HEAD", "1", "", 401)],
        0,
    ),
    "what is not there was asked for": (
        [answered(404, message="response completed with error")],
        [("HEAD", "1", "bot", 404)],
        0,
    ),
    "being let in is not an answer": ([request("authorized request", more={"auth.user.name": "bot"})], [], 0),
    "what the pusher does is no pull": ([answered(201, user=PUSHER, method="PUT")], [], 0),
    "other requests are none for an image": ([{"msg": "response completed", "http.response.status": 200}], [], 0),
}


@pytest.mark.parametrize(("entries", "expected", "succeeded"), CASES.values(), ids=CASES)
def test_the_log_tells_who_pulled_what(layout, registry, entries, expected, succeeded):
    logged(layout, *entries)
    pulls = registry.pulls()
    assert [(pull.method, pull.reference, pull.user, pull.status) for pull in pulls] == expected
    assert sum(pull.succeeded for pull in pulls) == succeeded
    assert {(pull.host, pull.repository) for pull in pulls} <= {(HOST, "team/auth")}


def test_a_log_that_is_being_written_or_not_there_tells_what_it_has(layout, registry):
    assert registry.pulls() == []
    logged(layout, answered(200))
    with (layout.logs / f"{HOST}.log").open("a") as log:
        log.write(json.dumps(answered(200))[:50])
    assert [type(pull) for pull in registry.pulls()] == [Pull]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=6))
def test_those_may_pull_who_were_added_last_and_not_revoked(tmp_path_factory, steps):
    users, expected = Users(tmp_path_factory.mktemp("registry")), {}
    for number, (name, added) in enumerate(steps):
        password = f"generated-{number}"
        if added:
            users.add(name, password)
            expected[name] = password
        else:
            users.revoke(name)
            expected.pop(name, None)
    kept = dict(line.split(":", 1) for line in users.file.read_text().splitlines()) if steps else {}
    assert sorted(kept) == users.names() == sorted(expected)
    assert all(bcrypt.checkpw(expected[name].encode(), hashed.encode()) for name, hashed in kept.items())


def test_no_password_stands_in_the_file_of_users(tmp_path):
    users = Users(tmp_path)
    users.ensure_pusher()
    users.add("bot", "very-secret-value")
    assert "very-secret-value" not in users.file.read_text()
    assert users.pusher_password not in users.file.read_text()
    assert users.file.stat().st_mode & 0o077 == 0


def test_every_host_of_stack_dev_has_a_registry_the_rejected_ones_too():
    config = load_stack("dev", repository())
    named = {host for registry in config.registries for host in (*registry.hosts, *registry.rejected_hosts)}
    assert named == set(REGISTRY_HOSTS)

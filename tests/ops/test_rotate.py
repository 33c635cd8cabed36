"""`rotate` and `rollback` on a real control plane: proof, races, kills, a way back, Pods and workloads."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

from local.controlplane.waiting import NotYet, until
from pullsecrets.cli import rotate as rotate_command
from pullsecrets.cli.app import app
from pullsecrets.errors import ExitCode, PullSecretsError
from pullsecrets.kube.marks import CONTENT_DIGEST_ANNOTATION, FORCE_SYNC_ANNOTATION
from tests.e2e.stack import Stack, account, secret
from tests.ops import workloads

pytestmark = pytest.mark.controlplane

REGISTRY = "ops-app"
PATH = "ops/registries/ops-app"
NAMESPACES = ["ops-auth-dev", "ops-both", "ops-order-dev", "ops-user-dev"]
IMAGE = "app.registry.example.com/team/auth:1"
FANOUT = f"/apis/external-secrets.io/v1/clusterexternalsecrets/{REGISTRY}"
DEADLINE = 30


def environment(stack: Stack) -> dict[str, str]:
    token = stack.seeder_token
    return {"KUBECONFIG": str(stack.operator), "VAULT_TOKEN": token}


def run(stack: Stack, *arguments: str, stdin: str | None = None) -> Result:
    """Run a command in this process, which is quicker by a second, as the operator with the seeder's token."""
    surroundings = {**stack.workspace.environment, **environment(stack)}
    where = ("--stack", stack.name, "--directory", str(stack.workspace.root))
    done = CliRunner().invoke(app, [*arguments, *where], input=stdin, env=surroundings)
    stack.printed += [done.output, str(done.exception or "")]
    return done


def rotate(stack: Stack, password: str, *options: str) -> tuple[int, dict[str, Any]]:
    document = stack.credential(REGISTRY, password)
    done = run(stack, "rotate", REGISTRY, "--from-file", "-", "--yes", "--json", *options, stdin=document)
    assert done.stdout, done.exception
    return done.exit_code, json.loads(done.stdout)


def rollback(stack: Stack, *options: str) -> dict[str, Any]:
    done = run(stack, "rollback", REGISTRY, "--yes", "--json", *options)
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def refusal(stack: Stack, *arguments: str, stdin: str | None = None) -> tuple[ExitCode, str]:
    error = run(stack, *arguments, "--yes", stdin=stdin).exception
    assert isinstance(error, PullSecretsError)
    return error.exit_code, str(error)


@contextmanager
def rotating(stack: Stack, password: str) -> Iterator[subprocess.Popen[str]]:
    """A rotation that is under way, to be killed; nothing of it is left behind."""
    command = [
        sys.executable,
        "-m",
        "pullsecrets",
        "rotate",
        REGISTRY,
        "--stack",
        stack.name,
        "--yes",
        "--from-file",
        "-",
    ]
    process = subprocess.Popen(
        [*command, "--directory", str(stack.workspace.root)],
        env={**stack.workspace.environment, **environment(stack)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin
    process.stdin.write(stack.credential(REGISTRY, password))
    process.stdin.close()
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def eso_hangs(stack: Stack) -> Iterator[None]:
    """ESO's process does nothing, and its Deployment still says that it is ready."""
    status = next(item for item in stack.plane.status() if item.name == "external-secrets")
    process = psutil.Process(status.pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def current_version(stack: Stack) -> int:
    return metadata(stack)["current_version"]


def metadata(stack: Stack) -> dict[str, Any]:
    return stack.plane.vault("root").secrets.kv.v2.read_secret_metadata(PATH, mount_point="secret")["data"]


def stored(stack: Stack, version: int) -> str:
    vault = stack.plane.vault("root").secrets.kv.v2
    found = vault.read_secret_version(PATH, version, mount_point="secret", raise_on_deleted_version=True)
    return found["data"]["data"]["dockerconfigjson"]


def write_unrecorded(stack: Stack, document: str) -> int:
    """Write a version as a command that is killed before it recorded it; return its number."""
    vault, before = stack.plane.vault("root").secrets.kv.v2, current_version(stack)
    vault.create_or_update_secret(PATH, {"dockerconfigjson": document}, cas=before, mount_point="secret")
    return before + 1


def digests(stack: Stack) -> set[str]:
    found = [stack.get(secret(name, REGISTRY))["metadata"]["annotations"] for name in NAMESPACES]
    return {annotations[CONTENT_DIGEST_ANNOTATION] for annotations in found}


def forced(stack: Stack) -> str | None:
    return (stack.get(FANOUT)["metadata"].get("annotations") or {}).get(FORCE_SYNC_ANNOTATION)


def test_a_rotation_is_proved_in_every_namespace_and_a_second_run_leaves_eso_alone(stack: Stack) -> None:
    before = current_version(stack)
    code, done = rotate(stack, "first-rotation-password")
    assert (code, done["outcome"], done["wrote"], done["missing"]) == (0, "done", True, {})
    assert (done["version"], done["namespaces"]) == (before + 1, NAMESPACES)
    assert digests(stack) == {done["digest"]}
    value = forced(stack)
    code, again = rotate(stack, "first-rotation-password")
    assert (code, again["wrote"], again["synced"], again["version"]) == (0, False, False, before + 1)
    assert forced(stack) == value

    wrong = json.dumps({"auths": {"registry.example.com": {"auth": "Ym90OnBhc3N3b3Jk"}}})
    code, cause = refusal(stack, "rotate", REGISTRY, "--from-file", "-", stdin=wrong)
    assert code == ExitCode.BAD_INPUT
    assert "found 'registry.example.com', a name that images do not use" in cause
    text = stack.credential(REGISTRY, "only-planned-password")
    planned = run(stack, "rotate", REGISTRY, "--from-file", "-", "--dry-run", stdin=text)
    assert "4 namespaces would receive it" in planned.stdout
    assert (current_version(stack), forced(stack)) == (before + 1, value)


def test_of_two_rotations_at_once_the_loser_changes_nothing(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def somebody_else_first(*_: object, **__: object) -> None:
        monkeypatch.undo()
        assert rotate(stack, "winning-password")[0] == 0
        seen.append(forced(stack))

    monkeypatch.setattr(rotate_command, "confirm_write", somebody_else_first)
    losing = stack.credential(REGISTRY, "losing-password")
    code, cause = refusal(stack, "rotate", REGISTRY, "--from-file", "-", stdin=losing)
    assert code == ExitCode.CONFLICT
    assert "another write came in after version" in cause
    assert [forced(stack)] == seen
    assert rotate(stack, "winning-password")[1]["wrote"] is False


def test_a_rotation_that_was_killed_is_finished_by_running_it_again(stack: Stack) -> None:
    before, value = current_version(stack), forced(stack)
    with eso_hangs(stack):
        with rotating(stack, "killed-after-the-write"):
            until(lambda: require(current_version(stack) > before), DEADLINE, "version written", every=0.005)
        with rotating(stack, "killed-while-waiting"):
            until(lambda: require(forced(stack) != value), DEADLINE, "force-sync", every=0.005)
    code, done = rotate(stack, "killed-while-waiting")
    assert (code, done["namespaces"]) == (0, NAMESPACES)
    assert digests(stack) == {done["digest"]}
    for number in range(2):
        with rotating(stack, f"killed-at-random-{number}") as process, pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=random.uniform(0.3, 1.2))  # noqa: S311 - when to kill is no secret
        code, done = rotate(stack, f"killed-at-random-{number}")
        assert (code, done["namespaces"], digests(stack)) == (0, NAMESPACES, {done["digest"]})


def test_without_proof_in_time_the_old_content_is_written_back(stack: Stack) -> None:
    good = rotate(stack, "good-password")[1]
    with eso_hangs(stack):
        # A version that had arrived everywhere before is not what fails now, and stays.
        stack.patch(secret("ops-both", REGISTRY), {"metadata": {"annotations": {CONTENT_DIGEST_ANNOTATION: "stale"}}})
        code, stays = rotate(stack, "good-password", "--timeout", "1", "--rollback-on-failure")
        assert (code, stays["outcome"], list(stays["missing"])) == (1, "failed", ["ops-both"])
        assert current_version(stack) == good["version"]
    assert rotate(stack, "good-password")[1]["outcome"] == "done"
    with eso_hangs(stack):
        code, done = rotate(stack, "never-delivered", "--timeout", "2", "--rollback-on-failure")
    assert (code, done["outcome"], sorted(done["missing"])) == (1, "rolled back", NAMESPACES)
    assert done["rolledBack"]["version"] == good["version"] + 2 == current_version(stack)
    assert done["rolledBack"]["digest"] == good["digest"]
    assert stored(stack, good["version"] + 2) == stored(stack, good["version"])
    assert metadata(stack)["custom_metadata"]["restored-from"] == str(good["version"])

    stack.plane.stop("external-secrets")
    try:
        text = stack.credential(REGISTRY, "not-even-written")
        code, cause = refusal(stack, "rotate", REGISTRY, "--from-file", "-", stdin=text)
    finally:
        stack.plane.start("external-secrets")
    assert code == ExitCode.PROBLEM
    assert "has no ready Pod" in cause
    assert current_version(stack) == good["version"] + 2


def test_rollback_restores_byte_for_byte_and_never_rolls_itself_back(stack: Stack) -> None:
    # As somebody wrote it by hand: not in the form that `seed` would give it.
    by_hand = json.dumps(json.loads(stack.credential(REGISTRY, "written-by-hand")), indent=3) + "\n"
    old = write_unrecorded(stack, by_hand)
    new = rotate(stack, "regretted-password")[1]
    assert new["version"] == old + 1
    planned = run(stack, "rollback", REGISTRY, "--dry-run")
    assert f"version {old} is to be written as version {old + 2}" in planned.stdout
    assert current_version(stack) == old + 1

    done = rollback(stack)
    assert (done["outcome"], done["restoredFrom"], done["version"]) == ("restored", old, old + 2)
    assert stored(stack, old + 2) == by_hand == stored(stack, old)
    assert digests(stack) == {done["digest"]}
    assert rollback(stack)["outcome"] == "unchanged"

    forward = rollback(stack, "--to", str(old + 1))
    assert (forward["version"], forward["digest"]) == (old + 3, new["digest"])
    # Killed between the write and the record.
    write_unrecorded(stack, by_hand)
    finished = rollback(stack)
    assert (finished["outcome"], finished["version"], finished["restoredFrom"]) == ("unchanged", old + 4, old + 2)
    assert metadata(stack)["custom_metadata"]["restored-as"] == str(old + 4)
    assert rollback(stack)["version"] == old + 4 == current_version(stack)

    vault = stack.plane.vault("root").secrets.kv.v2
    vault.delete_secret_versions(PATH, [old], mount_point="secret")
    vault.destroy_secret_versions(PATH, [old + 1], mount_point="secret")
    for version, cause in ((old, "was deleted at"), (old + 1, "is destroyed"), (999, "keeps versions")):
        code, said = refusal(stack, "rollback", REGISTRY, "--to", str(version))
        assert (code, cause in said) == (ExitCode.BAD_INPUT, True), said
    assert current_version(stack) == old + 4


@pytest.fixture
def early(stack: Stack) -> Iterator[str]:
    """A ServiceAccount whose list a test changes."""
    namespace = "ops-auth-dev"
    name = {"namespace": namespace, "name": "early"}
    stack.admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": name})
    yield namespace
    stack.admin.call("DELETE", account(namespace, "early"))


def list_entries(stack: Stack, namespace: str, entries: Sequence[str]) -> None:
    stack.patch(account(namespace, "early"), {"imagePullSecrets": [{"name": entry} for entry in entries]})


def test_pods_that_were_admitted_too_early_are_made_anew(stack: Stack, early: str) -> None:
    late = workloads.deployment(early, "late", IMAGE, service_account="early")
    bare = workloads.pod(early, "bare", IMAGE, service_account="early")
    workloads.create(stack.admin, late, bare)
    try:
        (stuck,) = workloads.until_pull_fails(stack.admin, late)
        name = f"{early}/{stuck['metadata']['name']}"
        first = rotate(stack, "for-early-pods")[1]["pods"]
        assert "lacks the entry" in first["others"][name]
        list_entries(stack, early, [REGISTRY])
        second = rotate(stack, "for-early-pods")[1]["pods"]
        assert (second["kept"], second["recreated"]) == ([name], [])
        assert "nothing would recreate it" in second["others"][f"{early}/bare"]
        third = rotate(stack, "for-early-pods", "--recreate-pods")[1]["pods"]
        assert third["recreated"] == [name]
        workloads.until_ready(stack.admin, late)
    finally:
        workloads.delete(stack.admin, late, bare)


def test_restarts_go_in_waves_wait_for_budgets_and_stop_at_the_first_failure(stack: Stack, early: str) -> None:
    list_entries(stack, early, [REGISTRY])
    plain = workloads.deployment(early, "a-plain", IMAGE)
    stateful = workloads.stateful_set(early, "b-stateful", IMAGE)
    guarded = workloads.deployment(early, "c-guarded", IMAGE)
    budget = workloads.disruption_budget(early, "c-guarded")
    fragile = workloads.deployment(early, "d-fragile", IMAGE, service_account="early")
    fragile["spec"]["progressDeadlineSeconds"] = 2
    running = [plain, stateful, guarded, fragile]
    names = {
        "plain": f"deployment/a-plain in {early}",
        "stateful": f"statefulset/b-stateful in {early}",
        "guarded": f"deployment/c-guarded in {early}",
        "fragile": f"deployment/d-fragile in {early}",
    }
    options = ("--restart", "--wave-size", "1", "--only", early)
    workloads.create(stack.admin, *running, budget)
    try:
        for item in running:
            workloads.until_ready(stack.admin, item)
        code, held = rotate(stack, "held-by-a-budget", *options, "--wave-timeout", "4")
        assert code == 1
        assert held["restart"]["held"] == {names["guarded"]: "PodDisruptionBudget c-guarded allows no disruption"}
        assert held["restart"]["restarted"] == [names["plain"], names["fragile"], names["stateful"]]
        workloads.delete(stack.admin, budget)
        code, done = rotate(stack, "held-by-a-budget", *options)
        assert (code, done["restart"]["restarted"]) == (0, [names["guarded"]])
        assert done["restart"]["already"] == held["restart"]["restarted"]

        list_entries(stack, early, [])
        code, failed = rotate(stack, "breaks-a-workload", *options, "--rollback-on-failure")
        assert (code, failed["outcome"]) == (1, "rolled back")
        assert list(failed["restart"]["failed"]) == [names["fragile"]]
        assert "exceeded its progress deadline" in failed["restart"]["failed"][names["fragile"]]
        assert failed["restart"]["remaining"] == [names["stateful"]]
        assert digests(stack) == {done["digest"]} == {failed["rolledBack"]["digest"]}
    finally:
        workloads.delete(stack.admin, *running, budget)


def test_nothing_that_was_printed_holds_a_credential(stack: Stack) -> None:
    versions = metadata(stack)["versions"]
    live = [int(number) for number, item in versions.items() if not item["destroyed"] and not item["deletion_time"]]
    printed = "\n".join(stack.printed)
    assert printed
    for version in live:
        for login in json.loads(stored(stack, version))["auths"].values():
            assert login["auth"] not in printed


def require(condition: bool) -> None:
    if not condition:
        raise NotYet("it does not hold")

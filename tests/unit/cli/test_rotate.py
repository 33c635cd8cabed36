"""`rotate` as a command: what it asks, prints and returns, with the cluster's part played by fakes."""

import base64
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pullsecrets.cli import console, options
from pullsecrets.cli import rotate as rotate_module
from pullsecrets.cli.app import app
from pullsecrets.credential import vault_token
from pullsecrets.credential.vault import MountSettings
from pullsecrets.delivery import prechecks, rotation, verify
from pullsecrets.delivery.rotation import Delivered
from pullsecrets.delivery.verify import Pull, Trial
from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError, UnreachableError
from pullsecrets.kube import eso
from pullsecrets.kube.client import KubernetesApiError, KubernetesClient
from pullsecrets.kube.ownership import Delivery
from pullsecrets.workloads import evict, restart
from pullsecrets.workloads.evict import Evictions, LackingPods
from pullsecrets.workloads.pods import list_pods
from pullsecrets.workloads.restart import RestartResult, Workload
from tests.unit import delivered
from tests.unit.credential.test_history import CONFIG, Versions, credential
from tests.unit.kube.test_eso import installation
from tests.unit.workloads.test_evict import Pods, pod


class Cluster(KubernetesClient):
    """What is asked of the API server before the write."""

    def __init__(self) -> None:
        self.may = {"patch": True, "get": True, "create": True}
        self.mistyped: list[str] = []
        self.leaving: list[str] = []
        self.events: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.contents: dict[str, Any] = {}

    def items(
        self, path: str, query: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> Iterator[dict[str, Any]]:
        del metadata_only
        if path == "/api/v1/secrets":
            assert "type!=" in (query or {})["fieldSelector"]
            yield from ({"metadata": {"namespace": name}} for name in self.mistyped)
        elif path == "/api/v1/namespaces":
            yield from ({"metadata": {"name": name, "deletionTimestamp": "now"}} for name in self.leaving)
        else:
            assert path == "/api/v1/events"
            for name, message in self.events.items():
                yield {"involvedObject": {"namespace": name}, "message": message}

    def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, *, body: Any = None, **_: Any
    ) -> dict[str, Any]:
        if path.endswith("selfsubjectaccessreviews"):
            return {"status": {"allowed": self.may[body["spec"]["resourceAttributes"]["verb"]]}}
        namespace = path.split("/")[4]
        if method == "GET":
            content = base64.b64encode(self.contents[namespace].encode()).decode()
            return {"data": {".dockerconfigjson": content}}
        assert (method, (query or {}).get("dryRun")) == ("PATCH", "All"), "nothing else is written"
        if namespace in self.refused:
            raise KubernetesApiError(method, path, 403, "Forbidden", self.refused[namespace])
        return {}


class Surroundings:
    """A Vault with some versions, and a delivery that reaches all namespaces but the missing ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.vault = Versions("old")
        self.missing: dict[str, str] = {}
        self.labelled = frozenset({"a", "b"})
        self.synced = True
        self.cluster = Cluster()
        self.deliveries = {
            name: Delivery("app", delivered.external_secret(name), delivered.secret(name, "0" * 16)) for name in "ab"
        }
        self.error: Exception | None = None
        self.way_back: Exception | None = None
        self.restarted = RestartResult()
        self.workloads: list[Workload] = []
        self.lacking = LackingPods((), {"a/bare": "delete it by hand"})
        self.left = Evictions({}, {})
        self.config = CONFIG
        monkeypatch.setattr(console, "load", lambda *_: self.config)
        monkeypatch.setattr(vault_token, "open_vault", lambda _: self.vault)
        monkeypatch.setattr(options, "KubernetesClient", lambda _: self.cluster)
        monkeypatch.setattr(eso, "require_refreshing", lambda *_: None)
        monkeypatch.setattr(eso, "find_installations", lambda _: [installation()])
        monkeypatch.setattr(rotation, "deliver", self.deliver)
        monkeypatch.setattr(prechecks, "selected_namespaces", self.selected)
        monkeypatch.setattr(prechecks, "read_deliveries", lambda *_: self.deliveries)
        monkeypatch.setattr(rotate_module, "selected_namespaces", self.selected)
        monkeypatch.setattr(evict, "find_lacking", lambda *_: self.lacking)
        monkeypatch.setattr(evict, "evict", lambda *_: self.left)
        monkeypatch.setattr(restart, "list_workloads", lambda *_: self.workloads)
        monkeypatch.setattr(restart, "restart", lambda *_: self.restarted)

    def selected(self, _cluster: object, _registry: object, only: frozenset[str] | None = None) -> frozenset[str]:
        return self.labelled if only is None else self.labelled & only

    def deliver(
        self, _target: object, _which: object, version: int, digest: str, *_: object, **__: object
    ) -> Delivered:
        back = version == len(self.vault.states) > 2
        error = self.way_back if back else self.error
        if error:
            raise error
        missing = {} if back else self.missing
        namespaces = tuple(sorted(self.labelled - missing.keys()))
        return Delivered(version, digest, namespaces, missing, 1.5, self.synced)

    def failing_restart(self, restarted_for: str | None = None) -> None:
        self.workloads = [Workload("Deployment", "a", "auth", restarted_for, None)]
        self.restarted = RestartResult(failed={"deployment/auth in a": "exceeded its progress deadline"})

    def run(self, *options: str, user: str = "new") -> Result:
        words = ["rotate", "app", "--stack", "dev", "--from-file", "-", *options]
        return CliRunner().invoke(app, words, input=credential(user))

    def json(self, *options: str, user: str = "new") -> tuple[int, dict[str, Any]]:
        done = self.run("--yes", "--json", *options, user=user)
        return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    return Surroundings(monkeypatch)


def test_it_says_what_it_did_and_never_the_credential(here: Surroundings) -> None:
    done = here.run("--yes")
    assert done.exit_code == 0
    assert "2 of 2 namespaces hold version 2 of app in 1.5 s" in done.stdout
    assert "a/bare: delete it by hand" in done.stdout
    assert "password-of" not in done.output
    assert here.vault.custom["rotated-in-dev"] == "2"


def test_json_is_one_document(here: Surroundings) -> None:
    code, found = here.json()
    assert code == 0
    assert (found["outcome"], found["wrote"], found["version"], found["namespaces"]) == ("done", True, 2, ["a", "b"])
    assert here.json()[1]["wrote"] is False
    assert len(here.vault.states) == 2


def test_nothing_is_written_without_a_yes_or_in_a_dry_run(here: Surroundings) -> None:
    refused = here.run()
    assert isinstance(refused.exception, BadInputError)
    assert "add --yes" in str(refused.exception)
    planned = here.run("--dry-run")
    assert "2 namespaces would receive it: a, b" in planned.stdout
    assert here.json("--dry-run")[1]["outcome"] == "planned"
    assert len(here.vault.states) == 1


def test_what_is_missing_is_named_with_its_cause_and_the_version_stays(here: Surroundings) -> None:
    here.missing = {"b": "could not get secret data"}
    done = here.run("--yes")
    assert done.exit_code == 1
    assert "b: could not get secret data" in done.stdout
    assert "version 2 stays; run the same command again, or `pull-secrets rollback app`" in done.stdout
    assert "rotated-in-dev" not in here.vault.custom


def test_a_failure_is_taken_back_when_that_is_asked_for(here: Surroundings) -> None:
    here.missing = {"b": "could not get secret data"}
    code, found = here.json("--rollback-on-failure", "--all-or-nothing")
    assert (code, found["outcome"], found["rolledBack"]["version"]) == (1, "rolled back", 3)
    assert here.vault.data[3] == here.vault.data[1]


def test_a_rerun_after_a_kill_takes_back_too_but_not_a_version_that_had_arrived(here: Surroundings) -> None:
    assert here.json()[0] == 0
    here.missing = {"b": "could not get secret data"}
    assert here.json("--rollback-on-failure", "--all-or-nothing")[1]["outcome"] == "failed"
    assert len(here.vault.states) == 2
    del here.vault.custom["rotated-in-dev"]
    assert here.json("--rollback-on-failure", "--all-or-nothing")[1]["outcome"] == "rolled back"


def test_the_first_version_cannot_be_taken_back(here: Surroundings) -> None:
    here.vault = Versions()
    here.missing = {"b": "could not get secret data"}
    code, found = here.json("--rollback-on-failure", "--all-or-nothing")
    assert (code, found["outcome"]) == (1, "failed")
    assert "no earlier version is live" in found["notRolledBack"]


@pytest.mark.parametrize("options", [("--yes",), ("--dry-run",)])
def test_a_namespace_without_the_label_is_refused_before_anything_is_written(
    here: Surroundings, options: tuple[str, ...]
) -> None:
    refused = here.run(*options, "--only", "a", "--only", "app-paymnts").exception
    assert isinstance(refused, BadInputError)
    assert "--only: found app-paymnts; allowed: namespaces that carry apps.platform/tenant=true" in str(refused)
    here.labelled = frozenset()
    refused = here.run(*options).exception
    assert isinstance(refused, BadInputError)
    assert "use `pull-secrets seed` to write the credential alone" in str(refused)
    assert len(here.vault.states) == 1


def test_what_arrived_elsewhere_is_not_taken_back_for_one_namespace(here: Surroundings) -> None:
    here.missing = {"b": "exceeded quota"}
    done = here.run("--yes", "--rollback-on-failure")
    assert done.exit_code == 1
    assert "it arrived everywhere but in b, and --all-or-nothing was not given" in done.stdout
    assert len(here.vault.states) == 2
    here.vault, here.missing = Versions("old"), dict.fromkeys("ab", "exceeded quota")
    assert here.json("--rollback-on-failure")[1]["outcome"] == "rolled back"
    assert "give that one too" in str(here.run("--yes", "--all-or-nothing").exception)


def test_what_will_not_take_it_is_told_before_the_write(here: Surroundings) -> None:
    here.deliveries["a"] = Delivery("app", delivered.external_secret("a", status="False"), None)
    here.cluster.events = {"a": 'secrets "app" is forbidden: exceeded quota: few'}
    here.cluster.refused = {"b": "admission webhook freeze denied the request"}
    here.cluster.leaving = ["c"]
    code, found = here.json("--dry-run")
    assert (code, len(here.vault.states)) == (0, 1)
    assert found["foreseen"] == {
        "a": 'secrets "app" is forbidden: exceeded quota: few',
        "b": "admission webhook freeze denied the request",
        "c": "it is being deleted, so it is left out",
    }
    assert "3 namespaces will not take it, for a reason that is there already" in here.run("--yes").output


def test_whoever_may_not_try_a_policy_is_told_so(here: Surroundings) -> None:
    here.cluster.may["patch"] = False
    here.cluster.refused = {"b": "would be refused"}
    found = here.json("--dry-run")[1]
    assert (found["foreseen"], "you may not patch Secrets" in found["unchecked"][0]) == ({}, True)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda metadata: metadata.update(ownerReferences=[]), "pull-secrets adopt b --registry app"),
        (lambda metadata: metadata["labels"].clear(), "label --overwrite secret app"),
        (
            lambda metadata: metadata["managedFields"].append(delivered.written("kubectl", immutable={})),
            "kubectl -n b delete secret app",
        ),
    ],
    ids=["foreign", "unmanaged", "immutable"],
)
def test_a_secret_that_would_keep_what_it_holds_is_refused_before_the_write(
    here: Surroundings, spoil: Any, cause: str
) -> None:
    found = delivered.secret("b", "0" * 16)
    spoil(found["metadata"])
    here.deliveries["b"] = Delivery("app", delivered.external_secret("b"), found)
    refused = here.run("--yes").exception
    assert isinstance(refused, BadInputError)
    assert cause in str(refused)
    assert len(here.vault.states) == 1
    assert here.run("--yes", "--only", "a").exit_code == 0


def test_a_secret_of_another_type_is_refused_before_the_write(here: Surroundings) -> None:
    here.cluster.mistyped = ["b"]
    assert "type cannot be changed" in str(here.run("--yes").exception)
    assert len(here.vault.states) == 1


def test_bytes_are_compared_where_that_is_asked_for_and_permitted(here: Surroundings) -> None:
    here.json()
    here.cluster.contents = dict.fromkeys("ab", here.vault.data[2]["dockerconfigjson"])
    assert here.json("--by-content")[0] == 0
    here.cluster.contents["b"] = credential("kept-from-before")
    code, found = here.json("--by-content")
    assert (code, found["namespaces"], "its bytes are not those" in found["missing"]["b"]) == (1, ["a"], True)
    here.cluster.may["get"] = False
    assert "--by-content: you may not get Secrets" in str(here.run("--yes", "--by-content", user="third").exception)
    assert len(here.vault.states) == 2


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("deleted_after", "720h0m0s", "delete_version_after 720h0m0s (path)"),
        ("on_mount", MountSettings(0, "1h0m0s"), "delete_version_after 1h0m0s (mount)"),
        ("versions_kept", 1, "max_versions 1: the write drops the credential before it"),
        ("seconds_left", 60, "the Vault token ends in 60 s, before --timeout (300 s)"),
    ],
)
def test_what_vault_will_do_later_is_told_before_the_write(
    here: Surroundings, setting: str, value: object, told: str
) -> None:
    assert here.json("--dry-run")[1]["warnings"] == []
    setattr(here.vault, setting, value)
    (warning,) = here.json("--dry-run")[1]["warnings"]
    assert told in warning


def test_a_rotation_is_done_when_a_test_pod_has_pulled_and_taken_back_when_it_cannot(
    here: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled = {"a": True, "b": True}

    def pull(_cluster: object, trial: Trial, namespaces: Collection[str]) -> list[Pull]:
        assert trial.image == "app.example.com/team/auth:1"
        return [Pull(name, pulled[name], "401 Unauthorized") for name in sorted(namespaces)]

    monkeypatch.setattr(verify, "run", pull)
    options = ("--verify", "app.example.com/team/auth:1", "--rollback-on-failure")
    code, found = here.json(*options)
    assert (code, found["outcome"], found["unpulled"]) == (0, "done", {})
    here.vault, pulled["b"] = Versions("old"), False
    code, found = here.json(*options)
    assert (code, found["outcome"], found["unpulled"]) == (1, "rolled back", {"b": "401 Unauthorized"})
    assert "in 1 namespace the test Pod could not pull" in here.run("--yes", *options[:2], user="third").stdout


def test_a_pull_that_may_not_be_made_is_refused_before_the_write(here: Surroundings) -> None:
    assert "none of the stack's" in str(here.run("--yes", "--verify", "busybox:1").exception)
    here.cluster.may["create"] = False
    assert "one of the verifiers" in str(here.run("--yes", "--verify", "app.example.com/a:1").exception)
    assert len(here.vault.states) == 1


def test_a_way_back_that_vault_would_drop_is_not_promised(here: Surroundings) -> None:
    here.vault.versions_kept = 1
    refused = here.run("--yes", "--rollback-on-failure").exception
    assert isinstance(refused, BadInputError)
    assert len(here.vault.states) == 1


ERRORS = [
    PullSecretsError("the annotation is taken off before ESO acts on it"),
    KubernetesApiError("PATCH", "/", 403, "Forbidden", "no"),
    UnreachableError("away"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_after_the_write_is_taken_back_too_and_keeps_its_exit_code(
    here: Surroundings, error: PullSecretsError
) -> None:
    here.error = error
    done = here.run("--yes", "--json", "--rollback-on-failure")
    found = json.loads(done.stdout)
    assert (found["outcome"], found["error"], found["rolledBack"]["version"]) == ("rolled back", str(error), 3)
    assert done.exception is error
    assert here.vault.data[3] == here.vault.data[1]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_of_the_restart_is_taken_back_too(
    here: Surroundings, error: PullSecretsError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> RestartResult:
        raise error

    monkeypatch.setattr(restart, "restart", refuse)
    done = here.run("--yes", "--json", "--restart", "--rollback-on-failure")
    assert (json.loads(done.stdout)["outcome"], done.exception) == ("rolled back", error)


def test_without_the_way_back_an_error_says_that_the_version_stays(here: Surroundings) -> None:
    here.error = ERRORS[0]
    done = here.run("--yes")
    assert "version 2 stays; run the same command again" in done.stdout
    assert done.exception is here.error
    assert len(here.vault.states) == 2


def test_what_somebody_else_wrote_meanwhile_is_not_taken_back(here: Surroundings) -> None:
    here.error = ConflictError("version 3 was written meanwhile")
    done = here.run("--yes", "--rollback-on-failure")
    assert done.exception is here.error
    assert len(here.vault.states) == 2


def test_an_error_on_the_way_back_is_in_the_document_beside_the_first_one(here: Surroundings) -> None:
    here.error, here.way_back = ERRORS[0], ERRORS[2]
    done = here.run("--yes", "--json", "--rollback-on-failure", "--all-or-nothing")
    found = json.loads(done.stdout)
    assert (found["outcome"], found["error"], found["notRolledBack"]) == ("failed", str(ERRORS[0]), "away")
    assert done.exception is here.error
    here.vault, here.error, here.missing = Versions("old"), None, {"b": "could not get secret data"}
    done = here.run("--yes", "--rollback-on-failure", "--all-or-nothing")
    assert "not rolled back to the end: away; see `pull-secrets rollback app --dry-run`" in done.stdout
    assert done.exception is here.way_back


def test_what_arrived_in_some_namespaces_is_taken_back_when_it_fails_in_the_others(here: Surroundings) -> None:
    assert here.json("--only", "a")[0] == 0
    assert "rotated-in-dev" not in here.vault.custom
    here.missing = {"b": "could not get secret data"}
    assert here.json("--rollback-on-failure", "--all-or-nothing")[1]["outcome"] == "rolled back"


def test_what_had_arrived_by_another_way_is_not_taken_back_for_a_restart_that_fails(here: Surroundings) -> None:
    here.json()
    # As `seed` leaves it.
    del here.vault.custom["rotated-in-dev"]
    here.synced = False
    here.failing_restart()
    assert here.json("--restart", "--rollback-on-failure")[1]["outcome"] == "failed"
    # An earlier run of this rotation restarted it.
    here.failing_restart("app@2")
    assert here.json("--restart", "--rollback-on-failure")[1]["outcome"] == "rolled back"


def test_what_arrived_in_a_cluster_that_shares_the_path_is_not_taken_back(here: Surroundings) -> None:
    here.json()
    here.vault.custom["rotated-in-other"] = here.vault.custom.pop("rotated-in-dev")
    here.missing = {"b": "its egress is closed"}
    assert here.json("--rollback-on-failure")[1]["outcome"] == "failed"
    assert len(here.vault.states) == 2


def test_a_pod_that_is_not_evicted_is_a_problem_after_a_rotation_that_ended_well(here: Surroundings) -> None:
    here.lacking = LackingPods(tuple(list_pods(Pods([pod("x"), pod("y"), pod("z")]))), {})
    here.left = Evictions({"apps/x": "would violate the budget"}, {"apps/y": "more than one PodDisruptionBudget"})
    code, found = here.json("--recreate-pods", "--rollback-on-failure")
    assert (code, found["outcome"], found["pods"]["recreated"]) == (1, "failed", ["apps/z"])
    assert (found["pods"]["held"], found["pods"]["refused"]) == (here.left.held, here.left.refused)
    assert here.vault.custom["rotated-in-dev"] == "2"
    done = here.run("--yes", "--recreate-pods")
    assert "2 Pods not evicted" in done.stdout
    assert "apps/y: more than one PodDisruptionBudget" in done.stdout
    assert here.run("--yes", "--keep-pods").exit_code == 0


def test_an_outage_while_pods_are_evicted_is_told_with_what_was_delivered(
    here: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Evictions:
        raise ERRORS[2]

    monkeypatch.setattr(evict, "evict", away)
    done = here.run("--yes", "--json", "--recreate-pods", "--rollback-on-failure")
    assert (json.loads(done.stdout)["outcome"], done.exception) == ("failed", ERRORS[2])
    assert len(here.vault.states) == 2

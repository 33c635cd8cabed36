"""The audit's metrics reach a Pushgateway in the format that it reads, in the place of the audit before."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.coverage.report.push import push
from pullsecrets.errors import BadInputError, ExitCode, UnreachableError
from tests.unit.coverage.test_report import CLEAN, GREEN, NOW, TROUBLED
from tests.unit.pushgateway import Pushgateway, pushgateway

GROUP = "/metrics/job/pull-secrets/cluster/dev"


@pytest.fixture
def gateway() -> Iterator[Pushgateway]:
    with pushgateway() as server:
        yield server


def test_metrics_stand_under_job_and_cluster(gateway: Pushgateway) -> None:
    push(TROUBLED, "dev", "dev", gateway.url)
    found = gateway.groups[GROUP]
    assert found["pull_secrets_audit_info"] == [({"stack": "dev", "cluster": "dev"}, 1)]
    assert ({"registry": "app", "state": "expected"}, 2.0) in found["pull_secrets_namespaces"]
    assert found["pull_secrets_audit_success_timestamp_seconds"] == [({}, NOW.timestamp())]


def test_a_push_replaces_the_one_before(gateway: Pushgateway) -> None:
    push(TROUBLED, "dev", "dev", gateway.url)
    push(replace(CLEAN, rows=(GREEN,)), "dev", "dev", gateway.url)
    (row,) = gateway.groups[GROUP]["pull_secrets_namespace_green"]
    assert row == ({"namespace": "auth-dev", "registry": "app"}, 1.0)
    assert list(gateway.groups) == [GROUP]


def test_a_refusal_names_the_pushgateway_and_the_reason(gateway: Pushgateway) -> None:
    gateway.refuses = "pushed metrics are invalid"
    with pytest.raises(UnreachableError, match=rf"Pushgateway at {gateway.url} .*pushed metrics are invalid"):
        push(CLEAN, "dev", "dev", gateway.url)


def test_one_that_does_not_answer_is_named() -> None:
    with pushgateway() as gone:
        url = gone.url
    with pytest.raises(UnreachableError, match=r"did not accept the metrics .*refused.*monitoring\.pushgateway"):
        push(CLEAN, "dev", "dev", url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    done = CliRunner().invoke(app, ["audit", "--stack", "dev", "--push", "http://bot:hunter2@gateway.example.com"])
    assert isinstance(done.exception, BadInputError)
    assert done.exception.exit_code == ExitCode.BAD_INPUT
    assert "without credentials" in str(done.exception)
    assert "hunter2" not in f"{done.exception}{done.output}"

"""A program that has nothing to do with pull Secrets passes every policy, without settings, nearly without a word."""

from pathlib import Path
from typing import Any

from pullsecrets.packs.pull_secrets import PACK
from tests.policies.engine import POLICIES, Engine
from tests.policies.fixtures import Fixture, write_state

_META = {"name": "shop", "namespace": "shop"}
_POD = {
    "metadata": {"labels": {"app": "shop"}},
    "spec": {"containers": [{"name": "shop", "image": "registry.example.com/shop:1"}]},
}


def _entry(token: str, api_version: str, **inputs: Any) -> dict[str, Any]:
    kind = token.rpartition(":")[2]
    inputs = {"apiVersion": api_version, "kind": kind, "metadata": _META, **inputs}
    return {"type": token, "name": kind.lower(), "inputs": inputs}


UNRELATED = [
    _entry(
        "kubernetes:apps/v1:Deployment",
        "apps/v1",
        spec={"selector": {"matchLabels": {"app": "shop"}}, "template": _POD},
    ),
    _entry("kubernetes:core/v1:Service", "v1", spec={"selector": {"app": "shop"}, "ports": [{"port": 80}]}),
    _entry("kubernetes:core/v1:Secret", "v1", type="Opaque", stringData={"colour": "green"}),
    _entry("kubernetes:core/v1:Namespace", "v1", metadata={"name": "shop"}),
    _entry(
        "kubernetes:external-secrets.io/v1:ClusterSecretStore",
        "external-secrets.io/v1",
        metadata={"name": "aws"},
        spec={"provider": {"aws": {"service": "SecretsManager", "region": "eu-central-1"}}},
    ),
    _entry(
        "kubernetes:batch/v1:CronJob",
        "batch/v1",
        spec={"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": _POD}}},
    ),
]
MOST_ADVISORY = 12


def test_it_breaks_no_mandatory_policy_and_few_advisory_ones(engine: Engine, tmp_path: Path) -> None:
    program = Fixture(POLICIES / PACK.folder / "unrelated.json", True, "program", UNRELATED)
    none = tmp_path / "none.json"
    none.write_text("{}")
    state = write_state(tmp_path / "state.json", program.resources())
    outcome = engine.analyze(state, [POLICIES / PACK.folder], [none])
    assert outcome.code == 0, outcome.output
    assert [found for found in outcome.violations if found.level == "mandatory"] == []
    advisory = [f"{found.policy}: {found.message}" for found in outcome.violations]
    assert len(advisory) <= MOST_ADVISORY, advisory

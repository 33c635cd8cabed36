"""What pipelines take from the stack files: a job for each stack, wave by wave, and no edit for a new cluster."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.errors import BadInputError
from tests.unit.fleet.project import add_stack

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    add_stack(tmp_path, "dev")
    add_stack(tmp_path, "prod-eu", fleet={"wave": 10, "labels": {"region": "eu"}})
    add_stack(tmp_path, "prod-us", fleet={"wave": 20, "labels": {"region": "us"}})
    return tmp_path


def listed(project: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["stacks", "--directory", str(project), *options])


def github(project: Path) -> dict[str, Any]:
    lines = listed(project, "--matrix", "github").stdout.splitlines()
    return {name: json.loads(value) for name, _, value in (line.partition("=") for line in lines)}


def gitlab(project: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(listed(project, "--matrix", "gitlab").stdout)


def test_a_new_stack_file_is_a_new_job_in_its_wave_and_nothing_else_is_edited(project: Path) -> None:
    assert github(project)["waves"] == [["dev"], ["prod-eu"], ["prod-us"]]
    before = gitlab(project)
    add_stack(project, "prod-ap", fleet={"wave": 10})
    assert github(project) == {
        "stacks": ["dev", "prod-ap", "prod-eu", "prod-us"],
        "waves": [["dev"], ["prod-ap", "prod-eu"], ["prod-us"]],
    }
    added = {
        "preview-prod-ap": {"extends": ".preview", "variables": {"STACK": "prod-ap"}},
        "up-prod-ap": {"extends": ".up-released", "stage": "wave-2", "variables": {"STACK": "prod-ap"}},
        "drift-prod-ap": {"extends": ".drift", "variables": {"STACK": "prod-ap"}},
    }
    assert gitlab(project) == {**before, **added}


def test_the_pipelines_name_no_stack() -> None:
    files = [*(REPOSITORY / ".github").rglob("*.yml"), *(REPOSITORY / ".ci").iterdir(), REPOSITORY / ".gitlab-ci.yml"]
    assert [file.name for file in files if re.search(r"\b(dev|prod)\b", re.sub("/dev/", "", file.read_text()))] == []


def test_the_first_wave_starts_by_itself_and_the_later_ones_are_released(project: Path) -> None:
    pipeline = gitlab(project)
    assert pipeline["stages"] == ["preview", "wave-1", "wave-2", "wave-3", "drift"]
    ups = {name: (job["extends"], job["stage"]) for name, job in pipeline.items() if name.startswith("up-")}
    assert ups == {
        "up-dev": (".up", "wave-1"),
        "up-prod-eu": (".up-released", "wave-2"),
        "up-prod-us": (".up-released", "wave-3"),
    }


def test_each_of_githubs_waves_waits_for_the_one_before_and_takes_its_own_stacks() -> None:
    jobs = YAML(typ="safe").load((REPOSITORY / ".github/workflows/deploy.yml").read_text())["jobs"]
    waves = [jobs[f"wave-{number}"] for number in range(1, 5)]
    assert len(jobs) == 5
    assert [wave["needs"] for wave in waves] == ["stacks", *(["stacks", f"wave-{number}"] for number in range(1, 4))]
    for index, wave in enumerate(waves):
        own = f"fromJSON(needs.stacks.outputs.waves)[{index}]"
        assert wave["strategy"] == {"fail-fast": False, "matrix": {"stack": f"${{{{ {own} }}}}"}}
        assert wave.get("if") == (own if index else None)
    action = YAML(typ="safe").load((REPOSITORY / ".github/actions/stacks/action.yml").read_text())
    assert action["runs"]["steps"][-1]["if"] == f"fromJSON(steps.list.outputs.waves)[{len(waves)}]"


def test_every_template_of_gitlabs_jobs_is_there(project: Path) -> None:
    pipeline = gitlab(project)
    (included,) = pipeline["include"]
    reader = YAML(typ="safe")
    reader.constructor.add_constructor("!reference", lambda constructor, node: constructor.construct_sequence(node))
    templates = reader.load((REPOSITORY / included["local"]).read_text())
    jobs = [job for name, job in pipeline.items() if name not in {"include", "stages"}]
    assert {job["extends"] for job in jobs} <= templates.keys()
    purposes = set(re.findall(r'\$PIPELINE == "(\w+)"', str(templates)))
    parent = YAML(typ="safe").load((REPOSITORY / ".gitlab-ci.yml").read_text())
    children = [job for job in parent.values() if "extends" in job and job["extends"] == ".each"]
    assert purposes == {job["variables"]["PIPELINE"] for job in children}


def test_a_file_that_does_not_parse_has_a_job_in_the_last_wave_which_fails_while_the_others_run(project: Path) -> None:
    add_stack(project, "broken", registries=[])
    assert github(project)["waves"] == [["dev"], ["prod-eu"], ["prod-us", "broken"]]
    done = listed(project, "--matrix", "github")
    assert (done.exit_code, "Pulumi.broken.yaml: 1 problem" in done.stderr) == (0, True)


def test_a_project_in_which_no_file_parses_still_has_jobs(tmp_path: Path) -> None:
    add_stack(tmp_path, "broken", registries=[])
    assert github(tmp_path) == {"stacks": ["broken"], "waves": [["broken"]]}


def test_the_list_for_people_and_the_one_for_programs_name_what_does_not_parse(project: Path) -> None:
    add_stack(project, "broken", registries=[])
    table, document = listed(project), listed(project, "--json")
    assert (table.exit_code, document.exit_code) == (1, 1)
    assert re.search(r"prod-eu .* 10 .* region=eu .* app-registry-pull .* 1 ", table.stdout)
    assert re.search(r"broken .* does not parse", table.stdout)
    assert "registries: found []" in table.stderr
    *_, last = json.loads(document.stdout)
    assert (last["name"], "registries: found []" in last["problem"]) == ("broken", True)


def test_a_selection_is_listed_alone(project: Path) -> None:
    done = listed(project, "--select", "prod-*", "--select", "region=eu", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == [
        {
            "name": "prod-eu",
            "cluster": "prod-eu",
            "context": "prod-eu",
            "wave": 10,
            "labels": {"region": "eu"},
            "registries": ["app-registry-pull"],
            "tenants": 1,
            "problem": "",
        }
    ]


def test_one_form_of_output_is_asked_for_at_a_time(project: Path) -> None:
    refused = listed(project, "--json", "--matrix", "github").exception
    assert isinstance(refused, BadInputError)
    assert str(refused) == "--json, --matrix: found both; allowed: one of them"

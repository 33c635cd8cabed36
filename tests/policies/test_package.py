"""A pack that is built to be published works alone: in an empty folder, with nothing of this repository to import."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from pullsecrets.packs import package
from pullsecrets.packs.catalog import PACKS
from pullsecrets.packs.pull_secrets import PACK
from pullsecrets.packs.timing import start_seconds
from tests.policies.engine import POLICIES, REPOSITORY, Engine, Outcome
from tests.policies.fixtures import fixtures, write_state

HEAVY = ("pydantic", "kubernetes", "hvac", "pulumi_kubernetes", "pulumi_vault", "ruamel", "typer", "rich", "yaml")
ALL = (*PACKS, PACK)
# Pulumi itself needs PyYAML.
NOT_OURS = {"yaml"}


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every pack, built, and given a virtual environment as `pulumi install` would make, but without a download."""
    out = tmp_path_factory.mktemp("packs")
    return [_with_environment(package.build(pack, out)) for pack in ALL]


def _with_environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (site_packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # Installed packages become importable; a path in a .pth file inside them, as an editable install leaves, does not.
    (site_packages / "installed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


@pytest.fixture(scope="module")
def outcome(engine: Engine, packs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One bad fixture of each pack, judged from an empty folder by the built packs."""
    bad = [next(found for found in fixtures(pack.folder) if not found.good) for pack in PACKS]
    state = write_state(
        tmp_path_factory.mktemp("state") / "state.json", (item for fixture in bad for item in fixture.resources())
    )
    return engine.analyze(state, packs)


def test_nothing_of_the_repository_can_be_imported_in_the_packs_environment(packs: list[Path]) -> None:
    # A folder of data files, which an editable install puts there, is found too, and has no origin.
    code = (
        "import importlib.util as u; print([n for n in ('pullsecrets', 'local') if (s := u.find_spec(n)) and s.origin])"
    )
    python = packs[0] / "venv" / "bin" / "python"
    done = subprocess.run([python, "-P", "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_built_pack_judges(outcome: Outcome) -> None:
    assert outcome.code == 1, outcome.output
    assert {found.pack for found in outcome.violations} == {pack.name for pack in ALL}


def test_a_built_pack_holds_its_requirements_and_no_fixture(packs: list[Path]) -> None:
    for folder in packs:
        project = yaml.safe_load((folder / "PulumiPolicy.yaml").read_text())
        assert project["runtime"]["options"]["virtualenv"] == "venv"
        assert (folder / "requirements.txt").read_text().startswith("pulumi==")
        assert list(folder.glob("**/fixtures")) == []


def test_building_again_leaves_the_same_files(tmp_path: Path) -> None:
    first = package.build(PACKS[0], tmp_path)
    before = {file: file.read_text() for file in sorted(first.rglob("*")) if file.is_file()}
    (first / "stale.py").write_text("")
    package.build(PACKS[0], tmp_path)
    assert {file: file.read_text() for file in sorted(first.rglob("*")) if file.is_file()} == before


@pytest.mark.parametrize("pack", ALL, ids=lambda pack: pack.name)
def test_a_pack_imports_nothing_heavy(pack: package.Pack) -> None:
    code = (
        "import sys, pulumi; known = set(sys.modules); "
        f"import pullsecrets.packs.{pack.folder}; "
        "print(*sorted({n.partition('.')[0] for n in set(sys.modules) - known}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(HEAVY) - NOT_OURS == set()


def test_a_pack_serves_soon_after_it_is_started() -> None:
    # The aim is 2 s; the limit leaves room for a machine that is busy with other tests.
    assert min(start_seconds(POLICIES / PACK.folder) for _ in range(2)) < 10

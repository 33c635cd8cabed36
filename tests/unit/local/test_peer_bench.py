"""What the bench beside peers makes of its measurements, and which Terraform takes part."""

from pathlib import Path

import pytest

from local.bench import Measured
from local.peer_bench import CREATE, KUBECTL, OURS, PACKS, PREVIEW, PROVIDER, TERRAFORM, rows, terraform_of
from pullsecrets.errors import BadInputError

MIB = 2**20


def measured(*seconds: float) -> list[Measured]:
    return [Measured(one, one * 2, int(one * MIB), "") for one in seconds]


def test_a_row_holds_medians_and_how_many_times_ours_it_took() -> None:
    figures = {(OURS, CREATE): measured(9, 4, 5), (KUBECTL, CREATE): measured(2, 50, 10)}
    assert list(rows(figures)) == [
        (OURS, CREATE, "5.0", "10.0", "5", "1.00"),
        (KUBECTL, CREATE, "10.0", "20.0", "10", "2.00"),
    ]


def test_a_preview_with_policies_is_held_against_one_without() -> None:
    *_, last = rows({(OURS, PREVIEW): measured(4), (OURS, PACKS): measured(5)})
    assert last[-1] == "1.25"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A terraform and a provider, as the environment names them."""
    found = {TERRAFORM: tmp_path / "terraform", PROVIDER: tmp_path / "plugins" / "terraform-provider-kubernetes"}
    for file in found.values():
        file.parent.mkdir(exist_ok=True)
        file.touch()
    return {name: str(file) for name, file in found.items()}


def test_terraform_is_left_out_where_the_environment_names_none() -> None:
    assert terraform_of({}) is None


@pytest.mark.parametrize("missing", [TERRAFORM, PROVIDER])
def test_half_a_terraform_is_refused_by_the_name_of_what_is_missing(files: dict[str, str], missing: str) -> None:
    for value in ("", "/nowhere"):
        with pytest.raises(BadInputError, match=f"{missing} names no file"):
            terraform_of({**files, missing: value})


def test_terraform_takes_the_provider_from_its_folder_and_asks_no_registry(files: dict[str, str]) -> None:
    found = terraform_of(files)
    assert found
    made = found.files(3, Path("/kubeconfig"))
    assert str(Path(files[PROVIDER]).parent) in made["settings.tfrc"]
    assert "range(3)" in made["main.tf"]
    assert 'config_path = "/kubeconfig"' in made["main.tf"]

"""docs/policies.md is what the policies' metadata says."""

from pullsecrets.packs import document
from pullsecrets.packs.catalog import PACKS


def test_the_page_is_not_out_of_date() -> None:
    assert document.TARGET.read_text(encoding="utf-8") == document.document(), "run `make docs`"


def test_every_policy_is_listed_with_its_fix() -> None:
    page = document.document()
    for policy in (policy for pack in PACKS for policy in pack.policies):
        assert f"### {policy.name}\n" in page
        assert str(policy.remediation_steps) in page


def test_the_page_says_what_packs_cannot_stop_and_what_takes_over() -> None:
    page = document.document()
    limits = page.partition("## What packs cannot stop")[2]
    for word in ("destroy", "Admission", "RBAC", "pull-secrets lint", "without `--policy-pack`"):
        assert word in limits


def test_check_fails_on_another_page(monkeypatch, tmp_path, capsys) -> None:
    target = tmp_path / "policies.md"
    monkeypatch.setattr(document, "TARGET", target)
    assert document.main(["--check"]) == 1
    assert "make docs" in capsys.readouterr().err
    assert document.main([]) == 0
    assert document.main(["--check"]) == 0

"""What the demo shows of a long `pulumi up`."""

from local.demo.summary import summary

SECTIONS = """
Policies:
    ✅ tenant-delivery@v0.1.0 (local: pullsecrets/packs/tenant_delivery)

Diagnostics:
  kubernetes:core/v1:Namespace (auth-dev):
    error: namespaces "auth-dev" is forbidden

Outputs:
    store: "vault-platform"

Resources:
    + 2 created

Duration: 11s
"""


def done(number: int, type_: str = "kubernetes:core/v1:Namespace", what: str = "created") -> str:
    begun = what.removesuffix("d").removesuffix("e") + "ing"
    return f" +  {type_} n{number} {begun} (0s) \n@ updating....\n +  {type_} n{number} {what} (0.04s) \n"


def test_few_changes_are_named_and_a_beginning_is_none() -> None:
    assert summary(done(1) + done(2, what="updated")).splitlines() == [
        "created kubernetes:core/v1:Namespace n1",
        "updated kubernetes:core/v1:Namespace n2",
    ]


def test_many_changes_are_counted_by_type() -> None:
    printed = "".join(done(number) for number in range(25)) + done(1, "vault:index/policy:Policy")
    assert summary(printed).splitlines() == [
        "  25 created kubernetes:core/v1:Namespace",
        "   1 created vault:index/policy:Policy",
    ]


def test_what_failed_and_what_it_comes_to_is_shown_as_pulumi_says_it() -> None:
    shown = summary(done(1) + " +  kubernetes:core/v1:Namespace auth-dev **creating failed** error\n" + SECTIONS)
    for line in (
        '    error: namespaces "auth-dev" is forbidden',
        "    + 2 created",
        "created kubernetes:core/v1:Namespace n1",
    ):
        assert line in shown.splitlines()
    for part in ("Outputs", "vault-platform", "Duration", "updating", "creating failed"):
        assert part not in shown


def test_a_run_that_changed_nothing_shows_its_count() -> None:
    assert summary("Previewing update (dev):\nResources:\n    109 unchanged\n") == "Resources:\n    109 unchanged"

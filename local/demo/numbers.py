"""The demo's measured numbers beside what the checklist gives for before and after the standardization."""

from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Measured:
    """What this run of the demo measured."""

    commands: int
    """That were run as a person would type them."""
    kubectl: int
    """Those of them that were kubectl's."""
    secrets: int
    """Pull Secrets in the tenants' namespaces."""
    by_hand: int
    """Those of them that no ExternalSecret owns."""
    set_up_seconds: float
    from_nothing: bool
    """Whether the set-up began without anything of the stack in the cluster."""
    rotation_seconds: float
    registries: int
    """Rotated ones."""
    namespaces: int
    proved: int
    """Namespaces that hold the current content, with ServiceAccounts that name it."""
    violations: int
    """What the validation of the repository found."""
    commits: int
    """In the repository of services."""
    versions: int
    """Of the credentials in Vault."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    before: str
    after: str
    measured: str


def rows(measured: Measured) -> tuple[Row, ...]:
    """Return the lines; the checklist's two columns are quoted from its "Metrics & Benefits"."""
    again = "" if measured.from_nothing else " (it was set up before)"
    wrong = measured.namespaces - measured.proved
    share = 100 * wrong / measured.namespaces
    return (
        Row(
            "Secrets made by hand",
            "96 kubectl commands",
            "0",
            f"{measured.by_hand} of {measured.secrets}; kubectl: {measured.kubectl} of {measured.commands} commands",
        ),
        Row("Initial set-up", "4 hours", "30 minutes", f"{measured.set_up_seconds:.0f} s{again}"),
        Row(
            "Rotation of a credential",
            "~4 hours",
            "~10 minutes",
            f"{measured.rotation_seconds:.0f} s for {measured.registries}, proved in {measured.proved} namespaces",
        ),
        Row(
            "Error rate",
            "~15 %",
            "<1 %",
            f"{share:.0f} % ({wrong} of {measured.namespaces} namespaces, {measured.violations} workloads)",
        ),
        Row("Coverage", "not known", "not given", f"{measured.proved} of {measured.namespaces} namespaces"),
        Row(
            "Audit trail",
            "none",
            "full Git history",
            f"{measured.commits} commits, {measured.versions} versions in Vault",
        ),
    )


def table(measured: Measured) -> Table:
    """Return the lines as a table."""
    shown = Table(title="What the checklist promises, and what was measured just now", header_style="bold")
    for column in ("", "before (checklist)", "after (checklist)", "measured"):
        shown.add_column(column, style="bold green" if column == "measured" else None, overflow="fold")
    for row in rows(measured):
        shown.add_row(row.what, row.before, row.after, row.measured)
    return shown

"""Options that several commands share; those that belong together are a class, which a command takes as one value."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from pullsecrets.cli import console
from pullsecrets.config import StackConfig
from pullsecrets.credential.expiry import parse_expiry
from pullsecrets.credential.sources import Source
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.kubeconfig import Reach

Stack = Annotated[
    str, typer.Option("--stack", "-s", envvar="PULL_SECRETS_STACK", help="Stack whose Pulumi.STACK.yaml to read.")
]
Directory = Annotated[
    Path, typer.Option("--directory", "-C", envvar="PULL_SECRETS_DIRECTORY", help="Folder that holds Pulumi.yaml.")
]
Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="WORD",
        help="Stacks to take: names such as 'prod-*', of which one must match; labels and waves, such as region=eu, "
        "region!=eu or wave=1, which must all hold. May be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before changing something.")]
Check = Annotated[
    bool, typer.Option("--check", help="Change nothing; exit 1 when the files there are not what would be written.")
]
RegistryArgument = Annotated[str, typer.Argument(help="Registry of the stack, such as app-registry-pull.")]
ByHand = Annotated[
    list[str] | None,
    typer.Option("--by-hand", help="Field manager to treat as a person, such as a script's; repeatable."),
]


class Format(StrEnum):
    """Forms of the report of a lint."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"


ReportFormat = Annotated[Format, typer.Option("--format", "-f", help="Format of the report.")]
ProofTimeout = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for the proof.")]


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and as whom: kubectl's options of the same names."""

    context: Annotated[
        str | None, typer.Option("--context", help="kubeconfig context; cluster.context of the stack by default.")
    ] = None
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="kubeconfig file, in place of KUBECONFIG.")
    ] = None
    impersonated: Annotated[
        str | None,
        typer.Option("--as", metavar="USER", help="User to impersonate, such as system:serviceaccount:NS:NAME."),
    ] = None
    groups: Annotated[
        list[str] | None,
        typer.Option("--as-group", metavar="GROUP", help="Group to impersonate, with --as; may be repeated."),
    ] = None

    def connect(self, config: StackConfig | None = None) -> KubernetesClient:
        """Return a client for the cluster; where no context was named, in that of the stack, if there is one."""
        context = self.context or (config.cluster.context if config else None)
        return KubernetesClient(Reach(self.kubeconfig, context, self.impersonated, tuple(self.groups or ())))


@dataclass(frozen=True)
class Change:
    """How a command changes something: only shown or done, with or without a question, told as text or as JSON."""

    dry_run: DryRun = False
    yes: Yes = False
    json: Json = False
    steps: list[str] = field(default_factory=list[str], init=False)
    """What was done."""

    def confirm(self, question: str) -> None:
        """Ask before something is changed, as `console.confirm` does."""
        console.confirm(question, yes=self.yes)

    def step(self, text: str) -> None:
        """Take down that a step is done, and say so where no JSON is printed at the end."""
        self.steps.append(text)
        if not self.json:
            console.print_step(text)

    def tell(self, *, wanted: bool = True, **facts: object) -> None:
        """Say how it ended, with the facts where JSON is wanted; `wanted` is whether there was anything to do."""
        outcome = "nothing to do" if not wanted else "planned" if self.dry_run else "done"
        if self.json:
            console.print_json({**facts, "outcome": outcome, "steps": self.steps})
        else:
            console.output.print("dry run: nothing was changed" if outcome == "planned" else outcome)


@dataclass(frozen=True)
class NewCredential:
    """Where a new credential comes from, when it expires, and whether it is tested first."""

    from_file: Annotated[
        str | None,
        typer.Option("--from-file", "-f", metavar="FILE", help="dockerconfigjson file; - reads standard input."),
    ] = None
    from_docker_config: Annotated[
        str | None,
        typer.Option(
            "--from-docker-config",
            metavar="FILE|auto",
            help="docker or podman config with its helpers; auto looks where they do. Only the registry's hosts count.",
        ),
    ] = None
    username: Annotated[
        str | None,
        typer.Option("--username", "-u", help="User name for every host; the password is prompted for."),
    ] = None
    password_fd: Annotated[
        int | None,
        typer.Option("--password-fd", min=0, metavar="N", help="Read the password from this file descriptor."),
    ] = None
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = (
        False
    )
    as_is: Annotated[
        bool,
        typer.Option("--as-is", help="Accept a login that looks like a mistake, such as a password in quotes."),
    ] = False
    expires_at: Annotated[
        str | None,
        typer.Option(
            "--expires-at", metavar="TIME", help="When it expires: RFC 3339 time, or date (its start in UTC)."
        ),
    ] = None
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", metavar="SPAN", help="When it expires, from now on, such as 90d.")
    ] = None
    verify_login: Annotated[
        bool,
        typer.Option("--verify-login", help="Log in to each host's /v2/ API first; nothing is written if one refuses."),
    ] = False
    registry_ca: Annotated[
        Path | None,
        typer.Option(
            "--registry-ca", metavar="FILE", help="PEM CA to trust in addition to the system's, for logging in."
        ),
    ] = None

    @property
    def given(self) -> bool:
        """Whether the caller gave a credential, or said something about one."""
        return any(
            (
                self.from_file,
                self.from_docker_config,
                self.username,
                self.expires_at,
                self.expires_in,
                self.verify_login,
            )
        )

    def source(self) -> Source:
        """Return where the credential is read from.

        Raises:
            BadInputError: when the options name no place, or several.
        """
        return Source(
            self.from_file, self.from_docker_config, self.username, self.password_fd, self.password_stdin, self.as_is
        )

    def expiry(self) -> datetime | None:
        """Return when the credential expires; None when the caller does not say.

        Raises:
            BadInputError: when it is no time to come.
        """
        return parse_expiry(self.expires_at, self.expires_in, datetime.now(UTC))


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of each class among its parameters, in that parameter's place."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {
        name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)
    }

    @functools.wraps(command)
    def with_options(**options: Any) -> None:
        made = {
            name: group(**{item.name: options.pop(item.name) for item in fields(group) if item.name in options})
            for name, group in groups.items()
        }
        command(**options, **made)

    parameters: list[inspect.Parameter] = []
    for own in inspect.signature(command).parameters.values():
        shared = inspect.signature(groups[own.name]).parameters.values() if own.name in groups else (own,)
        parameters += [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in shared]
    with_options.__dict__["__signature__"] = inspect.Signature(parameters)
    with_options.__annotations__ = {item.name: item.annotation for item in parameters}
    return with_options

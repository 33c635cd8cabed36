"""Turns what `pulumi preview --json` prints into the Markdown of one pull-request comment per stack.

It leads with what the preview means for tenants (`preview_impact`). A property's value can be a credential, so
properties are named and never shown, but for names and addresses out of the stack file. Messages of the program, the
providers and the policies are free text: what stands in them and also in a resource's state is taken out, unless the
stack's configuration or a resource's URN says it in public anyway.
"""

import html
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from pullsecrets.data import mapping, walk
from pullsecrets.errors import BadInputError
from pullsecrets.gitops.preview_impact import Changed, TenantRow, sentences, tenant_rows

LIMIT: Final = 65_536
"""GitHub takes no longer comment; counted in bytes, of which there are never fewer than characters."""

REMOVED: Final = "[removed]"

_STACK = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_UNCHANGED = frozenset(
    {"same", "read", "read-replacement", "read-discard", "discard-replaced", "refresh", "remove-pending-replace"}
)
# A replacement is announced once as such and once for each of these halves.
_HALVES = frozenset({"create-replacement", "delete-replaced"})
_SHOWN_SEVERITIES = ("error", "warning")
# Shorter strings are words such as `true` and `1h`, which stand in any text by chance.
_SHORTEST_VALUE = 8
_LONGEST_CELL = 600
_TENANT_COLUMNS = ("change", "namespace", "labels", "registries", "namespace was", "ServiceAccounts")
_MOST_TENANTS_OPEN = 12
_LONGEST_LINK = 500
# Characters that neither Markdown nor HTML gives a meaning; a colon would make links of addresses.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -/,;'()=+?%$")


@dataclass(frozen=True)
class Change:
    """A resource that the preview would change, without any value."""

    operation: str
    kind: str
    name: str
    properties: tuple[str, ...]


@dataclass(frozen=True)
class Violation:
    """What a policy found."""

    level: str
    policy: str
    resource: str
    message: str


@dataclass(frozen=True)
class Diagnostic:
    """A warning or an error of the program, a provider or the engine."""

    severity: str
    message: str


@dataclass(frozen=True)
class Preview:
    """What a comment says of a preview."""

    changes: tuple[Change, ...]
    unchanged: int
    violations: tuple[Violation, ...]
    diagnostics: tuple[Diagnostic, ...]
    complete: bool
    impact: tuple[str, ...] = ()
    tenants: tuple[TenantRow, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the preview failed, or a policy refuses what it would do."""
        errors = not self.complete or any(diagnostic.severity == "error" for diagnostic in self.diagnostics)
        return errors or any(violation.level == "mandatory" for violation in self.violations)


@dataclass(frozen=True)
class _Step:
    operation: str
    urn: str
    properties: tuple[str, ...]
    states: tuple[Any, ...]


@dataclass(frozen=True)
class _Output:
    """Both forms of the output, distinguished no longer."""

    steps: tuple[_Step, ...]
    counts: Mapping[str, int] | None
    policies: tuple[Mapping[str, Any], ...]
    diagnostics: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]


def marker(stack: str) -> str:
    """Return the hidden first line by which a stack's comment is found again.

    Raises:
        BadInputError: when this is no stack's name.
    """
    if not _STACK.fullmatch(stack):
        raise BadInputError(f"--stack: found {stack!r}; allowed: letters, digits, and the characters _ . -")
    return f"<!-- pull-secrets preview of stack {stack} -->"


def read(text: str) -> Preview:
    """Read the output of `pulumi preview --json`.

    Args:
        text: either form of it: one document, or a line per event as with `PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true`.
            Only the second has policy violations. Nothing at all is what a preview prints that could not start.

    Raises:
        BadInputError: when it is neither form.
    """
    try:
        documents = list(_documents(text))
        output = (
            _from_digest(documents[0])
            if len(documents) == 1 and "sequence" not in documents[0]
            else _from_events(documents)
        )
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise BadInputError(
            "the preview: found something other than the output of `pulumi preview --json`; "
            "give its standard output alone, without its standard error"
        ) from None
    return _summary(output)


def render(preview: Preview, stack: str, link: str = "", limit: int = LIMIT) -> str:
    """Return the comment, its first line the stack's marker.

    Args:
        link: address of the pipeline's run, where the log is.
        limit: bytes that the comment may have; rows that do not fit are counted, not shown.

    Raises:
        BadInputError: when this is no stack's name, or the link is none.
    """
    impact = [f"- {_text(sentence)}" for sentence in preview.impact]
    title = f"### Preview of stack {_code(stack)}"
    head = "\n".join(
        [marker(stack), title, "", _verdict(preview), *([""] if impact else ()), *impact, *_link(link), ""]
    )
    parts = [head]
    room = limit - _size(head)
    for section, share in zip(_sections(preview), (0.5, 0.5, 0.5, 1.0), strict=True):
        part = section.fit(int(room * share))
        parts.append(part)
        room -= _size(part)
    return "".join(parts)


@dataclass(frozen=True)
class _Section:
    """A table under a title, folded together when it is a detail."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    folded: bool

    def fit(self, room: int) -> str:
        """Return as many rows as there is room for, and how many were left out."""
        if not self.rows:
            return ""
        columns = f"| {' | '.join(self.columns)} |\n|{' --- |' * len(self.columns)}\n"
        title = f"{self.title} ({len(self.rows)})"
        opening = f"\n<details><summary>{title}</summary>\n\n" if self.folded else f"\n#### {title}\n\n"
        closing = "\n</details>\n" if self.folded else ""
        note = f"\n{len(self.rows)} more do not fit into a comment; the pipeline's log has them.\n"
        room -= _size(opening + columns + closing + note)
        shown: list[str] = []
        for row in self.rows:
            room -= _size(row)
            if room < 0:
                break
            shown.append(row)
        left = len(self.rows) - len(shown)
        left_out = f"\n{left} more do not fit into a comment; the pipeline's log has them.\n" if left else ""
        return f"{opening}{columns}{''.join(shown)}{left_out}{closing}"


def _sections(preview: Preview) -> tuple[_Section, ...]:
    violations = (_row(item.level, item.policy, item.resource, item.message) for item in preview.violations)
    diagnostics = (_row(item.severity, item.message) for item in preview.diagnostics)
    tenants = (
        _row(row.change, row.namespace, row.labels, row.registries, row.origin, row.service_accounts)
        for row in preview.tenants
    )
    changes = (
        _row(item.operation, item.kind, item.name, ", ".join(item.properties) or "all") for item in preview.changes
    )
    return (
        _Section("Policy violations", ("level", "policy", "resource", "message"), tuple(violations), folded=False),
        _Section("Diagnostics", ("severity", "message"), tuple(diagnostics), folded=not preview.refused),
        _Section("Tenants", _TENANT_COLUMNS, tuple(tenants), folded=len(preview.tenants) > _MOST_TENANTS_OPEN),
        _Section("Resources", ("operation", "type", "name", "properties"), tuple(changes), folded=True),
    )


def _verdict(preview: Preview) -> str:
    counts = Counter(change.operation for change in preview.changes)
    planned = ", ".join(f"{count} to {_text(operation)}" for operation, count in sorted(counts.items()))
    sentence = f"**{planned or 'No changes'}**, {preview.unchanged} unchanged."
    if not preview.complete:
        return "**Failed**: the preview broke off, so what is below may not be all; the pipeline's log has the cause."
    return f"**Refused**: see below. {sentence}" if preview.refused else sentence


def _link(link: str) -> list[str]:
    if not link:
        return []
    if len(link) > _LONGEST_LINK or not re.fullmatch(r"https?://[A-Za-z0-9._~:/?#=&%+-]+", link):
        raise BadInputError("--link: found something other than a URL; allowed: https://host/path")
    return ["", f'<a href="{html.escape(link)}">Log of this run</a>']


def _row(*cells: str) -> str:
    return f"| {' | '.join(_code(cell) for cell in cells)} |\n"


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    """Return text as nothing but text: no Markdown, HTML, mention, link or line break comes of it."""
    flat = " ".join(text.split())
    clipped = flat if len(flat) <= _LONGEST_CELL else flat[:_LONGEST_CELL] + "…"
    return "".join(_character(character) for character in clipped)


def _character(character: str) -> str:
    if character in _PLAIN:
        return character
    # Control characters and those that turn the direction of writing would make a line look like another.
    return f"&#{ord(character)};" if character.isprintable() else "&#65533;"


def _size(text: str) -> int:
    return len(text.encode())


def _documents(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    rest = text.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        if not isinstance(document, dict):
            raise TypeError("not an object")
        yield cast("dict[str, Any]", document)
        rest = rest[end:].lstrip()


def _from_digest(document: Mapping[str, Any]) -> _Output:
    if not {"steps", "changeSummary", "diagnostics", "config"} & set(document):
        raise ValueError("not a preview")
    return _Output(
        steps=tuple(_step(step, step.get("oldState"), step.get("newState")) for step in document.get("steps") or ()),
        counts=document.get("changeSummary"),
        policies=(),
        diagnostics=tuple(document.get("diagnostics") or ()),
        config=document.get("config") or {},
    )


def _from_events(events: Iterable[Mapping[str, Any]]) -> _Output:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if "sequence" not in event:
            raise ValueError("not an event")
        for name, body in event.items():
            if isinstance(body, dict):
                found.setdefault(name, []).append(cast("dict[str, Any]", body))
    steps = [_event_step(event) for event in found.get("resourcePreEvent", ())]
    # A step's outputs are known after it only, and can stand in a message as well.
    known = tuple(state for event in found.get("resOutputsEvent", ()) for state in _event_step(event).states)
    summary = found.get("summaryEvent")
    prelude = found.get("preludeEvent")
    return _Output(
        steps=(*steps, _Step("same", "", (), known)),
        counts=(summary[0].get("resourceChanges") or {}) if summary else None,
        policies=tuple(found.get("policyEvent", ())),
        diagnostics=tuple(found.get("diagnosticEvent", ())),
        config=(prelude[0].get("config") or {}) if prelude else {},
    )


def _event_step(event: Mapping[str, Any]) -> _Step:
    metadata: Mapping[str, Any] = event["metadata"]
    return _step(metadata, metadata.get("old"), metadata.get("new"))


def _step(step: Mapping[str, Any], old: Any, new: Any) -> _Step:
    keys = ("detailedDiff", "replaceReasons", "diffReasons", "keys", "diffs")
    named = next((step[key] for key in keys if step.get(key)), ())
    return _Step(str(step["op"]), str(step["urn"]), tuple(sorted(map(str, named))), (old, new))


def _summary(output: _Output) -> Preview:
    replaced = {step.urn for step in output.steps if step.operation == "replace"}
    changed = [
        step
        for step in output.steps
        if step.operation not in _UNCHANGED
        and not (step.operation in _HALVES and step.urn in replaced)
        and not _is_path_of_kubeconfig(step)
    ]
    redact = _redaction(output)
    moved = [_changed(step) for step in changed]
    tenants = tuple(tenant_rows(moved))
    return Preview(
        changes=tuple(
            Change(step.operation, *_kind_and_name(step.urn), tuple(map(redact, step.properties))) for step in changed
        ),
        unchanged=int((output.counts or {}).get("same") or 0),
        violations=tuple(_violation(event, redact) for event in output.policies),
        diagnostics=tuple(
            Diagnostic(str(event["severity"]), redact(_message(event)))
            for severity in _SHOWN_SEVERITIES
            for event in output.diagnostics
            if event.get("severity") == severity
        ),
        complete=output.counts is not None,
        impact=tuple(sentences(moved, tenants)) if moved and output.counts is not None else (),
        tenants=tenants,
    )


def _is_path_of_kubeconfig(step: _Step) -> bool:
    """Tell whether only the place of the kubeconfig differs, as between two runs of a pipeline: no drift."""
    kind, _ = _kind_and_name(step.urn)
    return kind == "pulumi:providers:kubernetes" and step.operation == "update" and step.properties == ("kubeconfig",)


def _changed(step: _Step) -> Changed:
    kind, _ = _kind_and_name(step.urn)
    old, new = (mapping(mapping(state).get("inputs")) for state in step.states)
    return Changed(step.operation, kind.rpartition(":")[2], old, new)


def _message(event: Mapping[str, Any]) -> str:
    return str(event.get("message") or "").strip().removeprefix(f"{event.get('severity')}: ")


def _violation(event: Mapping[str, Any], redact: "_Redaction") -> Violation:
    kind, name = _kind_and_name(str(event.get("resourceUrn") or ""))
    return Violation(
        level=str(event.get("enforcementLevel") or "mandatory"),
        policy=f"{event.get('policyPackName')}/{event.get('policyName')}",
        resource=f"{kind} {name}".strip() or "stack",
        message=redact(str(event.get("message") or "").strip()),
    )


def _kind_and_name(urn: str) -> tuple[str, str]:
    """Return a resource's own type, without its parents' types, and its name."""
    parts = urn.split("::", 3)
    return (parts[2].rpartition("$")[2], parts[3]) if len(parts) == 4 else ("", urn)


@dataclass(frozen=True)
class _Redaction:
    """Takes state's values out of free text."""

    values: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """Return the text without them."""
        for value in self.values:
            text = text.replace(value, REMOVED)
        return text


def _redaction(output: _Output) -> _Redaction:
    urns = (*(step.urn for step in output.steps), *(str(event.get("resourceUrn")) for event in output.policies))
    public = "\n".join([*urns, *(text for value in output.config.values() for text in _public(value))])
    found = {
        line
        for step in output.steps
        for state in step.states
        for part in ("inputs", "outputs")
        for value in _leaves(mapping(state).get(part))
        # The engine and the comment both break up text that has several lines.
        for line in (value.strip(), *(part.strip() for part in value.splitlines()))
    }
    # Looked for in the little text that is shown first: a large stack has tens of thousands of values.
    messages = (str(event.get("message")) for event in (*output.policies, *output.diagnostics))
    shown = "\n".join([*messages, *(name for step in output.steps for name in step.properties)])
    secret = (value for value in found if len(value) >= _SHORTEST_VALUE and value in shown and value not in public)
    return _Redaction(tuple(sorted(secret, key=lambda value: (-len(value), value))))


def _public(value: Any) -> list[str]:
    try:
        return [*_leaves(json.loads(value))]
    except (ValueError, TypeError):
        return [str(value)]


def _leaves(value: Any) -> Iterator[str]:
    leaves = (found for _, found in walk(value) if isinstance(found, str | int | float))
    return (str(found) for found in leaves if not isinstance(found, bool))

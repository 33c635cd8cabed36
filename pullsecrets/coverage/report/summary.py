"""An audit in plain words: one sentence of how things stand, and what to do, the most pressing first."""

from collections.abc import Iterator, Sized
from datetime import timedelta

from pullsecrets.coverage.audit import Audit, Credential
from pullsecrets.coverage.strays import Orphan
from pullsecrets.text import counted

EXPIRY_NOTICE = timedelta(days=14)


def headline(found: Audit) -> str:
    """Return one sentence that says what is delivered, and how far a pull has proved it."""
    namespaces = {row.namespace for row in found.rows}
    if not namespaces:
        return "No namespace is declared or labelled, so there is nothing to check."
    affected = {row.namespace for row in found.rows if not row.green}
    if not affected:
        pulled = len(namespaces - {row.namespace for row in found.rows if not row.pulled})
        proved = f"a kubelet has pulled with it in {pulled}" if pulled else "`pull-secrets verify` proves it by a pull"
        return f"{_all(len(namespaces))} the current credential, bound; {proved}."
    return f"In {len(affected)} of {counted(len(namespaces), 'namespace')} Pods may fail to pull images."


def actions(found: Audit, stack: str) -> tuple[str, ...]:
    """Return what to do, each with the command where there is one; empty when there is nothing to do."""
    option = f" --stack {stack}"
    return (*_urgent(found, option), *_advised(found, option))


def removal(orphan: Orphan, stack: str) -> str:
    """Return the command that settles a leftover, ready to run."""
    return f"{orphan.fix} --stack {stack}" if orphan.fix.startswith("pull-secrets ") else orphan.fix


def expires_soon(credential: Credential, found: Audit) -> bool:
    """Tell whether a credential ends, or has ended, within the notice period of the audit."""
    return credential.expires_at is not None and credential.expires_at - found.finished_at <= EXPIRY_NOTICE


def _urgent(found: Audit, option: str) -> Iterator[str]:
    for credential in found.credentials:
        name, command = credential.registry, _renewal(credential, option)
        if credential.version == 0:
            yield f"Registry {name} has no credential in Vault yet: {command}."
        elif credential.digest is None:
            yield f"It is not recorded which credential registry {name} has, so delivery cannot be proved: {command}."
        if expires_soon(credential, found):
            yield _expiry(credential, found, option)
    affected = sorted({row.namespace for row in found.rows if not row.green})
    if affected:
        yield (
            f"{counted(len(affected), 'namespace')} {_verb(affected, 'needs', 'need')} attention: "
            f"`pull-secrets doctor {affected[0]}{option}` shows cause and fix"
            + (f", and so on for {len(affected) - 1} more." if affected[1:] else ".")
        )


def _expiry(credential: Credential, found: Audit, option: str) -> str:
    moment = credential.expires_at or found.finished_at
    tense = "expired" if moment <= found.finished_at else "expires"
    name = credential.registry
    command = _renewal(credential, option, renewed=True)
    return f"The credential of registry {name} {tense} on {moment:%Y-%m-%d}: get a new one and {command}."


def _renewal(credential: Credential, option: str, *, renewed: bool = False) -> str:
    command = "seal" if credential.source == "sealedSecret" else "rotate" if renewed else "seed"
    return f"`pull-secrets {command} {credential.registry}{option}`"


def _advised(found: Audit, option: str) -> Iterator[str]:
    if exposed := [item for item in found.unmanaged_secrets if item.exposed]:
        yield (
            f"{counted(len(exposed), 'Secret')} {_verb(exposed, 'shows', 'show')} the credential in an annotation that "
            "`kubectl apply` left: replace that credential, then remove them."
        )
    if others := found.unmanaged_secrets:
        yield (
            f"{counted(len(others), 'unmanaged Secret')} {_verb(others, 'is', 'are')} not rotated with the rest: "
            f"`pull-secrets cleanup{option} --dry-run` shows what uses them, and `pull-secrets adopt` takes them over."
        )
    if uses := {use.namespace for use in found.undeclared_uses}:
        yield (
            f"Pods of {counted(len(uses), 'namespace')} use a registry without opting in: declare "
            f"{_verb(uses, 'it', 'them')} as tenant in the stack file."
        )
    if left := found.orphans:
        yield f"{counted(len(left), 'leftover')} of ours: remove each with the command beside it."
    yield from (*found.notes, *found.limits)


def _all(namespaces: int) -> str:
    return "The one namespace holds" if namespaces == 1 else f"All {namespaces} namespaces hold"


def _verb(things: Sized, one: str, many: str) -> str:
    return one if len(things) == 1 else many

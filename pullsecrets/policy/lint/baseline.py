"""A baseline: the known violations of a repository, which do not fail it."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pullsecrets.errors import BadInputError
from pullsecrets.files import write_whole
from pullsecrets.policy.lint.judging import Report, Violation

_ACCEPTED = "the baseline has it"


def write(file: Path, report: Report) -> int:
    """Write the violations of a report that nobody accepted, and return how many there are."""
    entries = [
        {"file": name, "policy": policy, "problem": problem, "count": count}
        for (name, policy, problem), count in sorted(Counter(map(_key, report.told)).items())
    ]
    write_whole(file, json.dumps({"violations": entries}, indent=2, ensure_ascii=False) + "\n")
    return len(report.told)


def compared(file: Path, report: Report) -> Report:
    """Return a report in which what the baseline has is accepted, and what it has in vain is told.

    A violation is the same by its file, policy and problem; lines move, and so do not count.

    Raises:
        BadInputError: when it is no baseline.
    """
    left = _read(file)
    violations: list[Violation] = []
    for found in report.violations:
        if not found.accepted and left[_key(found)] > 0:
            left[_key(found)] -= 1
            found = replace(found, accepted=_ACCEPTED)  # noqa: PLW2901 - the same violation, accepted
        violations.append(found)
    gone = (f"{name}: {policy}: {problem}" for (name, policy, problem), count in left.items() for _ in range(count))
    return replace(report, violations=tuple(violations), gone=tuple(gone))


def _key(found: Violation) -> tuple[str, str, str]:
    return found.file, found.policy.name, found.problem


def _read(file: Path) -> Counter[tuple[str, str, str]]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        entries = cast("list[dict[str, Any]]", content["violations"])
        counts = {(str(one["file"]), str(one["policy"]), str(one["problem"])): int(one["count"]) for one in entries}
    except OSError as error:
        raise BadInputError(f"{file}: {error.strerror}; name a file that --baseline wrote") from None
    except (ValueError, TypeError, KeyError):
        raise BadInputError(
            f"{file}: not a baseline; name one that lint wrote, or a file that does not exist"
        ) from None
    return Counter(counts)

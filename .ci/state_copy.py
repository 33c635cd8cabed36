#!/usr/bin/env python3
"""Copies an exported state for previews, without what it keeps encrypted: .ci/state_copy.py STATE COPY."""

import json
import sys
from pathlib import Path
from typing import Any

SIGNATURE = "4dabf18193072939515e22adb298388d"
"""Key that marks a value of a special kind; this kind is a secret's (pulumi/pulumi: sdk/go/common/resource/sig)."""
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a mark, and no secret


def without_secrets(value: Any) -> Any:
    """Return a state's JSON with an empty text where a secret's ciphertext or plaintext stood."""
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    if isinstance(value, dict):
        return "" if value.get(SIGNATURE) == SECRET else {key: without_secrets(item) for key, item in value.items()}
    return value


def main(state: Path, copy: Path) -> None:
    """Write the copy."""
    exported = without_secrets(json.loads(state.read_text(encoding="utf-8")))
    exported["deployment"].pop("secrets_providers", None)
    copy.write_text(json.dumps(exported), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

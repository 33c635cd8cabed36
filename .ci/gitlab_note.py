#!/usr/bin/env python3
"""Writes a stack's comment to a merge request, over the one that an earlier run wrote: .ci/gitlab_note.py FILE.

Reads GITLAB_NOTE_TOKEN (a project access token with scope api) and GitLab's own CI_* variables.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import requests

SECONDS = 30


def main(file: Path) -> None:
    """Create the note, or update the one with the same first line that the token's own user wrote."""
    body = file.read_text(encoding="utf-8")
    marker = body.partition("\n")[0]
    api = os.environ["CI_API_V4_URL"]
    notes = f"{api}/projects/{os.environ['CI_PROJECT_ID']}/merge_requests/{os.environ['CI_MERGE_REQUEST_IID']}/notes"
    with requests.Session() as session:
        session.headers["PRIVATE-TOKEN"] = os.environ["GITLAB_NOTE_TOKEN"]
        user = _answer(session.get(f"{api}/user", timeout=SECONDS)).json()["id"]
        existing = next(_own(session, notes, user, marker), None)
        if existing is None:
            _answer(session.post(notes, json={"body": body}, timeout=SECONDS))
        else:
            _answer(session.put(f"{notes}/{existing}", json={"body": body}, timeout=SECONDS))


def _own(session: requests.Session, notes: str, user: int, marker: str) -> Iterator[int]:
    page = "1"
    while page:
        answer = _answer(session.get(notes, params={"per_page": "100", "page": page}, timeout=SECONDS))
        for note in answer.json():
            if note["author"]["id"] == user and note["body"].startswith(marker):
                yield note["id"]
        page = answer.headers.get("X-Next-Page", "")


def _answer(answer: requests.Response) -> requests.Response:
    if not answer.ok:
        sys.exit(f"GitLab answered {answer.status_code} {answer.reason} for the note; has GITLAB_NOTE_TOKEN scope api?")
    return answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))

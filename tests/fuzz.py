"""Tries what reads credentials and images on documents that were broken at random, until a time is over.

Run as `python -m tests.fuzz [SECONDS] [SEED]`, which `make fuzz` does. It fails at the first exception that is none of
ours, at the first message that shows a credential, and at the first document that changes when it is stored and read
again; it prints the seed and the document, whose credentials are made up.
"""

import base64
import json
import random
import sys
import time
from typing import Any

from pullsecrets import image
from pullsecrets.credential import document, keys, kubelet
from pullsecrets.errors import BadInputError
from pullsecrets.policy import credentials
from pullsecrets.policy.registries import KnownRegistry, meant_by_key, other_name

CANARY = "canary-of-the-fuzz-7c1e"
_HOSTS = (
    "registry.example.com",
    "docker.io",
    "index.docker.io",
    "*.example.com",
    "[fc00::1]:5000",
    "10.0.0.5:5000",
    "",
)
_PARTS = (
    "https://",
    "http://",
    "/v1/",
    "/v2",
    "/team/app",
    ":443",
    ".",
    "@",
    "bot:",
    "%2e",
    "*",
    "\ufeff",
    "\ud800",
    "\0",
)
_FIELDS = ("auth", "username", "password", "email", "identitytoken", "Auth", "serveraddress", "x")
_TOP = ("auths", "Auths", "credsStore", "credHelpers", "HttpHeaders", "kind")
_REGISTRY = KnownRegistry("app", {}, (), ("registry.example.com", "docker.io"), ("old.example.com",))


class _Source:
    """Makes texts and documents, each from what a seed gives."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible, nothing is kept secret with it

    def key(self) -> str:
        parts = [self._random.choice(_HOSTS), *self._random.choices(_PARTS, k=self._random.randrange(3))]
        self._random.shuffle(parts)
        return "".join(parts)

    def document(self) -> bytes:
        content = {self._random.choice(_TOP): self._auths() for _ in range(self._random.randrange(1, 3))}
        if self._random.random() < 0.1:
            content = self._auths()
        encoded = json.dumps(content, ensure_ascii=self._random.random() < 0.5).encode("utf-8", "surrogatepass")
        return self._random.choice((encoded, encoded, base64.b64encode(encoded), self._broken(encoded)))

    def _auths(self) -> Any:
        if self._random.random() < 0.1:
            return self._random.choice((None, [], 1, "desktop", [{}]))
        return {self.key(): self._entry() for _ in range(self._random.randrange(4))}

    def _entry(self) -> Any:
        if self._random.random() < 0.1:
            return self._random.choice((None, [], 1, "text"))
        return {self._random.choice(_FIELDS): self._value() for _ in range(self._random.randrange(1, 4))}

    def _value(self) -> Any:
        user = self._random.choice(("bot", "b:ot", "", "${USER}", "'bot", "b\u200bot"))
        password = self._random.choice((CANARY, f"{CANARY}\n", f'{{"key": "{CANARY}"}}\n', "", f"{CANARY}\ud800"))
        auth = base64.b64encode(f"{user}:{password}".encode("utf-8", "replace")).decode()
        cut = self._random.randrange(len(auth) + 1)
        return self._random.choice(
            (auth, auth.rstrip("="), f"{auth[:cut]}\n{auth[cut:]}", auth[:cut], password, None, 7)
        )

    def _broken(self, encoded: bytes) -> bytes:
        at = self._random.randrange(len(encoded) + 1)
        junk = self._random.choice((b"", b"\xff", b"\0", b'"', b"\\", b"\xef\xbb\xbf", b"[" * 2000, b"9" * 5000))
        return encoded[:at] + junk + encoded[at + self._random.randrange(3) :]


def attempt(seed: int) -> None:
    """Try everything on what one seed gives.

    Raises:
        AssertionError: when a credential is shown, or is not stored as it was read.
    """
    source = _Source(seed)
    text = source.document()
    for old in (False, True):
        try:
            kubelet.read_logins(text, old=old)
        except kubelet.UnreadableError as error:
            _require_hidden(error)
    try:
        read = document.parse(text)
        stored = document.parse(read.to_json())
        assert (stored, stored.notes) == (read, ())
        logins = {host: (login.username, login.password) for host, login in read.logins.items()}
        assert kubelet.read_logins(read.to_json().encode()) == logins
        assert all(keys.opens(host, f"{host}/team/app:1") for host in read.hosts)
        _require_hidden(read.notes)
        document.require_meant(read)
    except BadInputError as error:
        _require_hidden(error)
    _require_hidden([kind for _, kind in credentials.inline_credentials({"data": text.decode("utf-8", "replace")})])
    key, reference = source.key(), f"{source.key()}{source.key()}"
    keys.lookup([(key, key)], reference)
    image.host_problem(key)
    other_name([_REGISTRY], image.written_host(reference))
    meant_by_key([_REGISTRY], key)


def _require_hidden(said: object) -> None:
    shown = repr(said)
    forms = (CANARY, base64.b64encode(CANARY.encode()).decode()[:-4])
    assert not any(form in shown for form in forms), "a credential is shown"


def main() -> None:
    """Run until the time is over; exit 1 at the first failure."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = first = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            attempt(seed)
        except BaseException:
            sys.stderr.write(f"seed {seed}: {_Source(seed).document()!r}\n")
            raise
        seed += 1
    sys.stdout.write(f"{seed - first} documents: no traceback, no leak, nothing stored otherwise than read\n")


if __name__ == "__main__":
    main()

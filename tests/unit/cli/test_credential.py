"""The options that take a credential: nobody's password is echoed, and nobody is asked who is not there."""

import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from local.controlplane.waiting import NotYet, until
from pullsecrets.cli import credential
from pullsecrets.config import parse
from pullsecrets.credential.registry_login import LoginProof
from pullsecrets.credential.sources import from_login
from pullsecrets.errors import BadInputError
from tests.unit.config.test_config import GOOD, changed

CANARY = "canary-of-the-prompt-93ab"
ASKING = "from pullsecrets.cli import credential; print(len(credential.ask_password()))"


def test_a_password_that_is_typed_is_not_shown() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ASKING], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True
    ) as running:
        os.close(theirs)
        try:
            shown = os.read(ours, 1000)
            # What is typed before the echo is off is thrown away, and the question would wait for ever.
            until(lambda: _require_silent(ours), 60, "the echo is off")
            os.write(ours, f"{CANARY}\n".encode())
        except BaseException:
            running.kill()
            raise
        assert running.stdout is not None
        assert running.stdout.read().split() == [str(len(CANARY)).encode()]
        shown += _rest(ours)
    assert CANARY.encode() not in shown


def _require_silent(terminal: int) -> None:
    if termios.tcgetattr(terminal)[3] & termios.ECHO:
        raise NotYet("the terminal echoes")


def _rest(terminal: int) -> bytes:
    found = b""
    deadline = time.monotonic() + 10
    try:
        while time.monotonic() < deadline and (part := os.read(terminal, 1000)):
            found += part
    except OSError:
        # A terminal whose other side is closed.
        pass
    return found


def test_nobody_is_asked_where_nobody_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKING], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert "no terminal to ask for the password on; add --password-stdin or --password-fd N" in done.stderr


def test_a_registry_is_named_by_the_stack() -> None:
    config = parse(GOOD, "test")
    assert credential.registry_of(config, "web", "test").name == "web"
    with pytest.raises(BadInputError, match="registry: found 'wbe'; allowed in stack 'test': app, web"):
        credential.registry_of(config, "wbe", "test")


def test_a_sealed_registrys_credential_is_not_in_vault() -> None:
    sealed = {"source": "sealedSecret", "delivery": "fanout"}
    config = parse(changed("registries.0", {**GOOD["registries"][0], **sealed}), "test")
    with pytest.raises(BadInputError, match=r"source: sealedSecret, .*not in Vault; use `pull-secrets seal`"):
        credential.registry_of(config, "app", "test")


@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        (LoginProof("h:5000", tested=True, realm_host=None), "login   h:5000: accepted\n"),
        (LoginProof("h", tested=True, realm_host="auth.h"), "login   h: accepted through the token service auth.h\n"),
        (
            LoginProof("h", tested=False, realm_host=None),
            "password not verified: the registry answers without a login\n",
        ),
    ],
)
def test_how_a_registry_answered_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], proof: LoginProof, expected: str
) -> None:
    monkeypatch.setattr(credential.registry_login, "verify", lambda *_: (proof,))
    credential.verify_login(from_login("bot", CANARY, ["h"]), Path("ca.pem"))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith(expected)

"""Nothing that is logged, and no failure that is printed, holds a credential."""

import base64
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets import redaction
from pullsecrets.credential.document import DockerConfigError, parse
from pullsecrets.redaction import PLACEHOLDER, Redactor

CANARY = "canary-a1b2c3d4e5f60718"
TEXT = st.text(st.characters(min_codepoint=32, exclude_characters="[]", exclude_categories=["Cs"]))
# What the placeholder itself holds cannot be kept out of it.
VALUES = TEXT.filter(lambda value: len(value) >= redaction.SHORTEST and value not in PLACEHOLDER)


def redactor(*values: str) -> Redactor:
    made = Redactor()
    made.register(*values)
    return made


@given(values=st.lists(VALUES, min_size=1, max_size=4), around=st.lists(TEXT, min_size=5, max_size=5))
def test_no_registered_value_is_left(values: list[str], around: list[str]) -> None:
    text = "".join(part for pair in zip(around, [*values, ""], strict=False) for part in pair)
    shown = redactor(*values).redact(text)
    assert not [value for value in values if value in shown]


@given(value=VALUES, cut=st.integers(1, 3), around=TEXT)
def test_of_values_that_overlap_nothing_is_left(value: str, cut: int, around: str) -> None:
    first, second = f"{value}xyz-end", f"{(value + 'xyz-end')[cut:]}-of-the-second"
    text = f"{around}[{first[:cut]}{second}]"
    assert redactor(first, second).redact(text).endswith(f"[{PLACEHOLDER}]")


@given(before=st.binary(max_size=20), value=st.text(min_size=12).filter(str.isalnum), after=st.binary(max_size=20))
def test_a_value_is_found_inside_any_base64(before: bytes, value: str, after: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(before + value.encode() + after).decode()
        shown = redactor(value).redact(encoded)
        assert PLACEHOLDER in shown
        # At most the digits at each end, which hold bits of the neighbours, are left.
        kept = len(shown) - len(PLACEHOLDER)
        assert kept <= len(encoded) - (len(value.encode()) * 8 - 10) // 6


@given(value=VALUES)
def test_a_value_is_found_in_json_urls_and_representations(value: str) -> None:
    forms = [json.dumps({"x": value}), json.dumps({"x": value}, ensure_ascii=False), repr([value]), quote(value)]
    for form in forms:
        shown = redactor(value).redact(form)
        assert PLACEHOLDER in shown
        assert value not in shown


def test_a_value_of_several_lines_is_found_line_by_line() -> None:
    made = redactor(*redaction.with_lines(f'{{\n  "id": "{CANARY}",\n  "n": 1\n}}'))
    assert made.redact(f'12:01 "id": "{CANARY}",') == f"12:01 {PLACEHOLDER}"
    # What is in every text is none of it.
    assert made.redact('{"n": 1}') == '{"n": 1}'
    assert redaction.with_lines(f" {CANARY} ") == (f" {CANARY} ",)
    # A log that somebody gives as a password must not make every later line slow.
    assert len(redaction.with_lines("\n".join(f"line {number:06}" for number in range(10_000)))) < 1000


@given(st.text())
def test_text_without_credentials_is_left_alone_or_shortened_but_never_refused(text: str) -> None:
    assert redactor("value").redact(redactor("value").redact(text)) is not None


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Basic {CANARY}",
        f"send: b'GET /v2/ HTTP/1.1\\r\\nAuthorization: Bearer {CANARY}\\r\\n'",
        f"{{'authorization': 'Bearer {CANARY}', 'Accept': '*/*'}}",
        f"{{b'Authorization': b'Basic {CANARY}'}}",
        f"X-Vault-Token: {CANARY}",
        f"{{'X-Vault-Token': '{CANARY}'}}",
        f"curl -H 'Authorization:{CANARY}'",
        f"got Bearer {CANARY} back",
        f"token hvs.{CANARY} is used",
        "token s.canaryA1B2c3D4e5F6g7H8i9J0 is used",
        f"eyJhbGciOiJSUzI1NiJ9.eyJ{CANARY}.c2lnbmF0dXJl-canary",
        f'{{"auth": "{CANARY}"}}',
        f"{{'password': '{CANARY}'}}",
        f'{{"password":"a\\"{CANARY}"}}',
        json.dumps({"document": json.dumps({"auths": {"h": {"auth": CANARY, "email": "e"}}})}),
        json.dumps({"again": json.dumps({"document": json.dumps({"password": f'"{CANARY}'})})}),
        f'{{"data":{{".dockerconfigjson":"{CANARY}"}}}}',
        f'{{"access_token": "{CANARY}", "expires_in": 300}}',
        f'{{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\n{CANARY}\\n"}}',
        f'{{"auth": "{CANARY}',
        f"https://bot:{CANARY}@registry.example.com/v2/",
        f"https://bot:p@ss{CANARY}@registry.example.com/v2/",
    ],
)
def test_shapes_of_credentials_are_found_without_being_registered(text: str) -> None:
    shown = redactor().redact(text)
    assert PLACEHOLDER in shown
    assert "canary" not in shown


@pytest.mark.parametrize(
    "text",
    [
        'WWW-Authenticate: Bearer realm="https://auth.example.com/token",service="registry.example.com"',
        "GET https://registry.example.com:5000/v2/app/manifests/latest@sha256:0a HTTP/1.1",
        '{"name": "auth", "data": {"owner": "platform", "digest": "872491a30d60d598"}}',
        "https://vault.example.com:8200 does not answer; basic authentication is off",
        "secrets.external-secrets.io/v1 in s.apps.example.com, hvs. is a prefix",
        "or may require authorization: authorization failed: no basic auth credentials",
    ],
)
def test_what_is_no_credential_is_left_readable(text: str) -> None:
    assert redactor().redact(text) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "part",
    ['"', "\\", ":", "a", " ", "eyJ", "eyJ-", "Bearer ", '"auth":"', '"auth":"\\', "://a:", "s.", "authorization:"],
)
def test_hostile_text_takes_linear_time(part: str) -> None:
    redactor().redact(part * (1_000_000 // len(part)))


class Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    factory, hook = logging.getLogRecordFactory(), threading.excepthook
    redaction.install()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    # A library's own logger, with a handler of its own, that hands nothing on to the root logger.
    logger = logging.getLogger("some.library")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logging.setLogRecordFactory(factory)
    threading.excepthook = hook


def _as_argument(logger: logging.Logger) -> None:
    logger.debug("read %s", {"value": CANARY})


def _in_the_message(logger: logging.Logger) -> None:
    logger.info(f"read {CANARY}")


def _with_arguments_that_do_not_fit(logger: logging.Logger) -> None:
    logger.info("read %d", CANARY)


def _with_an_exception(logger: logging.Logger) -> None:
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise RuntimeError("outer") from error
    except RuntimeError:
        logger.exception("it failed")


@pytest.mark.parametrize("logged", [_as_argument, _in_the_message, _with_arguments_that_do_not_fit, _with_an_exception])
def test_any_record_of_any_logger_is_redacted(
    log: io.StringIO, capsys: pytest.CaptureFixture[str], logged: Callable[[logging.Logger], None]
) -> None:
    redaction.register(CANARY)
    logged(logging.getLogger("some.library"))
    shown = log.getvalue() + "".join(capsys.readouterr())
    assert shown
    assert CANARY not in shown


def test_a_record_keeps_no_way_back_to_the_value(log: io.StringIO) -> None:
    redaction.register(CANARY)
    logger = logging.getLogger("some.library")
    handler = Keeping()
    logger.addHandler(handler)
    _as_argument(logger)
    _with_an_exception(logger)
    logger.removeHandler(handler)
    assert len(handler.records) == 2
    assert not [record for record in handler.records if CANARY in repr(vars(record)) or record.exc_info]
    assert "RuntimeError: outer" in log.getvalue()


@pytest.mark.usefixtures("log")
def test_installing_twice_is_installing_once() -> None:
    factory = logging.getLogRecordFactory()
    redaction.install()
    assert logging.getLogRecordFactory() is factory


@pytest.mark.usefixtures("log")
def test_a_thread_that_fails_shows_no_credential(capsys: pytest.CaptureFixture[str]) -> None:
    redaction.register(CANARY)

    def fail() -> None:
        raise ValueError(f"no {CANARY}")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    shown = capsys.readouterr().err
    assert f"ValueError: no {PLACEHOLDER}" in shown
    assert CANARY not in shown


def test_reading_a_credential_registers_it_in_every_form() -> None:
    password = "canary-of-the-document-77"
    auth = base64.b64encode(f"bot:{password}".encode()).decode()
    document = json.dumps({"auths": {"registry.example.com": {"auth": auth}}})
    stored = parse(document).to_json()
    for secret in (password, auth, document, stored, base64.b64encode(stored.encode()).decode()):
        shown = redaction.redact(f"<{secret}>")
        assert PLACEHOLDER in shown
        assert password not in shown
        assert auth not in shown


def test_a_refused_document_is_registered_too() -> None:
    refused: Any = {"auths": {"h": {"auth": "canary-no-base64", "password": "canary-beside-it"}}}
    with pytest.raises(DockerConfigError):
        parse(json.dumps(refused))
    assert redaction.redact("canary-no-base64 canary-beside-it") == f"{PLACEHOLDER} {PLACEHOLDER}"


CRASH = """
import sys
from pullsecrets import redaction
from pullsecrets.cli import app

def crash() -> None:
    value = sys.stdin.read()
    redaction.register(value)
    raise KeyError({"attempt": value})

app.app.command("crash")(crash)
app.main()
"""


def test_a_crash_of_a_command_is_shown_without_the_credential() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH, "-v", "crash"], input=CANARY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"KeyError: {{'attempt': '{PLACEHOLDER}'}}" in done.stderr
    assert CANARY not in done.stderr + done.stdout

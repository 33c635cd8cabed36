"""Takes credentials out of everything that is logged or printed when something fails.

Two nets: values that the process has read, by themselves and as they look inside base64, JSON and URLs; and shapes that
only credentials have, for what a server or a library brings along.

Log records are redacted where they are made, by the record factory. A filter on the root logger does not see the
records of other loggers, and one on its handlers misses handlers that a library puts on its own logger.
"""

import base64
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

PLACEHOLDER = "[redacted]"

SHORTEST = 4
"""Shorter values are in every text: without them a log stays readable, and a password of three letters is no secret."""

SHORTEST_LINE = 8
"""Shorter lines of a value, such as a key file's braces, are in every text too."""

MOST_LINES = 256
"""Of one value: each is looked for in every text, and a key file has a dozen."""

_SHORTEST_INSIDE_BASE64 = 8
"""Base64 digits that are worth looking for on their own: fewer are found in unrelated words."""

# The kubelet says "may require authorization: authorization failed: no basic auth credentials", which holds none.
_HEADERS = "authorization(?!: authorization failed: )|x-vault-token|x-registry-auth"
_FIELDS = (
    "auth|password|passwd|secret|identitytoken|registrytoken|token|access_token|refresh_token|id_token|client_token|"
    r"private_key|\.?dockerconfigjson"
)
# Four layers of JSON in JSON put fifteen backslashes before a quote; without a limit a long run takes quadratic time.
_SHAPES = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # Headers, as such or in the representation of a mapping; with or without a scheme before the value.
        rf"\b(?:{_HEADERS})\\{{0,15}}[\"']?\s*[:=]\s*b?\\{{0,15}}[\"']?(?:[a-z]+[ ]+)?(?P<h>[^\s\"'\\,]+)",
        r"\b(?:basic|bearer)\s+(?P<b>[a-z0-9._~+/-]{16,}=*)",
        # Vault's and OpenBao's tokens: service, batch and recovery, before and since Vault 1.10.
        r"(?<![\w.-])(?P<v>hv[sbr]\.[\w.-]{16,}|[sbr]\.[a-z0-9]{20,})",
        # JSON Web Tokens: of ServiceAccounts and of registries.
        r"(?P<j>(?<![\w-])eyj[\w-]{8,}\.[\w-]{8,}\.[\w-]*)",
        # Fields of JSON, also of JSON inside a JSON string, and of a mapping's representation.
        rf"(?P<q>\\{{0,15}}[\"'])(?:{_FIELDS})(?P=q)\s*:\s*(?P<o>\\{{0,15}}[\"'])(?P<f>.*?)(?:(?<!\\)(?P=o)|$)",
        # User and password in a URL.
        r"://(?P<u>[^\s/?#\"'@:]*:[^\s/?#\"']+)@",
    )
)
_SECRET_GROUPS = frozenset("hbvjfu")


def with_lines(value: str) -> tuple[str, ...]:
    """Return a value and, when it has several lines, each of them: what shows a text line by line cuts it apart."""
    lines = value.splitlines()
    if len(lines) < 2:
        return (value,)
    worth = [stripped for line in lines if len(stripped := line.strip()) >= SHORTEST_LINE]
    return value, *worth[:MOST_LINES]


class Redactor:
    """The values that must not be shown, and what finds them in a text. Safe across threads."""

    def __init__(self) -> None:
        """Start without values; the shapes are always looked for."""
        self._lock = threading.Lock()
        self._values: set[str] = set()

    def register(self, *values: str) -> None:
        """Remember values, so that no form of them is shown from now on."""
        forms = {form for value in values if len(value) >= SHORTEST for form in _forms(value)}
        with self._lock:
            self._values.update(forms)

    def redact(self, text: str) -> str:
        """Return the text with every registered value and every known shape replaced.

        All are looked for in the text as it came: of two values that overlap nothing is left.
        """
        spans = [*self._value_spans(text), *_shape_spans(text)]
        return _replaced(text, spans) if spans else text

    def _value_spans(self, text: str) -> Iterator[tuple[int, int]]:
        with self._lock:
            values = tuple(self._values)
        for value in values:
            start = text.find(value)
            while start >= 0:
                yield start, start + len(value)
                start = text.find(value, start + 1)


_process = Redactor()
register = _process.register
redact = _process.redact


def install() -> None:
    """Redact log records, whoever makes and whoever handles them, and what a thread that fails prints.

    Messages are formatted here, with exceptions as text: afterwards a record holds neither arguments nor an exception
    whose attributes a handler could show.
    """
    if not isinstance(logging.getLogRecordFactory(), _RecordFactory):
        logging.setLogRecordFactory(_RecordFactory())
    threading.excepthook = _print_failed_thread


def log_to_stderr(level: int) -> None:
    """Send log records from a level on to stderr, from every library."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)


def redacted_traceback(error: BaseException) -> str:
    """Return an exception with its causes as text that is safe to print."""
    return redact("".join(traceback.format_exception(error)))


class _RecordFactory:
    """Makes log records that hold redacted text alone."""

    def __init__(self) -> None:
        self._make = logging.getLogRecordFactory()

    def __call__(self, *arguments: Any, **named: Any) -> logging.LogRecord:
        record = self._make(*arguments, **named)
        record.msg = redact(_message(record))
        record.args = None
        if record.exc_info:
            _, error, _ = record.exc_info
            record.exc_text = redacted_traceback(error).rstrip() if error else None
            record.exc_info = None
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return record


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - whatever an argument raises; logging would print the arguments as they are
        return f"{record.msg} (its arguments do not fit: {type(error).__name__})"


def _print_failed_thread(failure: threading.ExceptHookArgs) -> None:
    name = failure.thread.name if failure.thread else "of unknown name"
    text = redacted_traceback(failure.exc_value) if failure.exc_value else f"{failure.exc_type.__name__}\n"
    sys.stderr.write(f"Exception in thread {name}:\n{text}")


def _forms(value: str) -> Iterator[str]:
    """Yield a value as it looks by itself, in URLs, in JSON, in a representation, and anywhere inside base64."""
    content = value.encode("utf-8", "surrogatepass")
    yield value
    yield quote(content, safe="")
    yield quote(content)
    yield quote_plus(content)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(content).decode().rstrip("=")
        if len(whole) >= SHORTEST:
            yield whole
        for offset in range(3):
            inside = _inside_base64(encode(b"\0" * offset + content).decode(), offset, len(content))
            if len(inside) >= _SHORTEST_INSIDE_BASE64:
                yield inside


def _inside_base64(encoded: str, offset: int, length: int) -> str:
    """Return the digits that depend on the content alone, whatever stands before and after it."""
    first = -(-offset * 8 // 6)
    last = (offset + length) * 8 // 6
    return encoded[first:last]


def _shape_spans(text: str) -> Iterator[tuple[int, int]]:
    for shape in _SHAPES:
        for found in shape.finditer(text):
            yield from (found.span(name) for name in shape.groupindex.keys() & _SECRET_GROUPS)


def _replaced(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts: list[str] = []
    end = 0
    covered = -1
    for start, stop in sorted(spans):
        if stop <= start:
            continue
        if start > covered:
            parts += [text[end:start], PLACEHOLDER]
        covered = max(covered, stop)
        end = covered
    return "".join([*parts, text[end:]])

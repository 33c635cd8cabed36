"""The dockerconfigjson document: reading, checking, normalising and digesting it without ever showing a credential."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pullsecrets import redaction
from pullsecrets.errors import BadInputError
from pullsecrets.image import host_problem

DIGEST_LENGTH = 16
_ENTRY_FIELDS = {"auth", "email", "username", "password"}
_SHOWN_FIELDS = {"email", "username"}
_LINE_CHARACTERS = "\t\n\r"
"""Control characters that a password of several lines holds, such as a service account's key file."""
_WITHOUT_LINE_CHARACTERS = str.maketrans("", "", _LINE_CHARACTERS)


class DockerConfigError(BadInputError):
    """The document cannot serve as a pull credential; the text names the field, never its value."""


@dataclass(frozen=True)
class RegistryLogin:
    """The login for one host. Its representation never shows the password."""

    username: str
    password: str = field(repr=False)
    email: str | None = None

    def __post_init__(self) -> None:
        """Keep the password, and what is made of it, out of every log."""
        redaction.register(*redaction.with_lines(self.password), f"{self.username}:{self.password}")

    @property
    def auth(self) -> str:
        """User and password as `auths` and HTTP's Basic spell them."""
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True)
class DockerConfig:
    """A checked pull credential: one login per registry host."""

    logins: Mapping[str, RegistryLogin]

    def __post_init__(self) -> None:
        """Keep the document, as it is stored, out of every log."""
        redaction.register(self.to_json())

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that the credential opens, sorted."""
        return tuple(sorted(self.logins))

    def to_json(self) -> str:
        """Return the document as it is stored: `auths` alone, keys sorted, no spare white space."""
        auths = {host: _entry(login) for host, login in self.logins.items()}
        return json.dumps({"auths": auths}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """Digest of the stored document; the same that ESO writes beside each delivered Secret."""
        return content_digest(self.to_json())


def content_digest(document: str) -> str:
    """Return the first 16 hexadecimal digits of the document's SHA-256.

    `manifests.CONTENT_DIGEST_TEMPLATE` lets ESO compute the same over what it delivered.
    """
    return hashlib.sha256(document.encode()).hexdigest()[:DIGEST_LENGTH]


def parse(document: str | bytes) -> DockerConfig:
    """Read and check a dockerconfigjson document.

    Raises:
        DockerConfigError: when it is no JSON, has no `auths`, or an entry is no usable login.
    """
    content = load(document)
    unusable = sorted({"credsStore", "credHelpers"} & content.keys())
    auths = content.get("auths")
    if not isinstance(auths, dict) or not auths:
        hint = f"; {unusable[0]} keeps the credential outside the document" if unusable else ""
        raise DockerConfigError(f"dockerconfigjson: auths: found nothing; allowed: at least one host{hint}")
    entries = cast("dict[str, Any]", auths)
    return DockerConfig({_host(host): _login(host, entry) for host, entry in entries.items()})


def require_hosts(config: DockerConfig, canonical: Iterable[str], rejected: Iterable[str], registry: str) -> None:
    """Check that a credential lists every canonical host of a registry and no other.

    A host that is not canonical is refused because each tenant would receive its login.

    Raises:
        DockerConfigError: naming the hosts found and the hosts allowed.
    """
    allowed = tuple(canonical)
    extra = [host for host in config.hosts if host not in allowed]
    missing = [host for host in allowed if host not in config.hosts]
    wanted = f"allowed for registry {registry!r}: {', '.join(allowed)}"
    known_wrong = [host for host in extra if host in set(rejected)]
    if known_wrong:
        raise DockerConfigError(
            f"dockerconfigjson: auths: found {known_wrong[0]!r}, a name that images do not use "
            f"(the kubelet would find no login); {wanted}"
        )
    if extra:
        raise DockerConfigError(f"dockerconfigjson: auths: found {', '.join(map(repr, extra))}; {wanted}")
    if missing:
        raise DockerConfigError(f"dockerconfigjson: auths: no login for {', '.join(map(repr, missing))}; {wanted}")


def load(document: str | bytes) -> dict[str, Any]:
    """Read a JSON object, and keep the whole text out of every log.

    Raises:
        DockerConfigError: when it is something else; without any of its content.
    """
    try:
        text = document.decode("utf-8-sig") if isinstance(document, bytes) else document
        redaction.register(text.strip())
        content: Any = json.loads(text, object_pairs_hook=_unique_keys)
    except UnicodeDecodeError:
        raise DockerConfigError("dockerconfigjson: found bytes that are not UTF-8; allowed: a JSON document") from None
    except json.JSONDecodeError as error:
        # The decoder's own exception carries the whole document: only the position may leave.
        raise DockerConfigError(
            f"dockerconfigjson: not JSON at line {error.lineno} column {error.colno}; allowed: a JSON document"
        ) from None
    except ValueError:
        raise DockerConfigError("dockerconfigjson: found a number of absurd length; allowed: a JSON document") from None
    except RecursionError:
        raise DockerConfigError("dockerconfigjson: nested too deeply; allowed: a JSON object with auths") from None
    if not isinstance(content, dict):
        found = type(cast("object", content)).__name__
        raise DockerConfigError(f"dockerconfigjson: found a {found}; allowed: a JSON object with auths")
    return cast("dict[str, Any]", content)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise DockerConfigError("dockerconfigjson: found a key twice in one object; allowed: each key once")
    return dict(pairs)


def _host(host: str) -> str:
    if host_problem(host):
        # What stands before an @ would be user and password.
        shown = host.rpartition("@")[2]
        raise DockerConfigError(
            f"dockerconfigjson: auths: found host {shown!r}; "
            "allowed: a host with an optional port, in lower case, without scheme or path"
        )
    return host


def _login(host: str, entry: Any) -> RegistryLogin:
    key = f"dockerconfigjson: auths[{host!r}]"
    if not isinstance(entry, dict):
        raise DockerConfigError(f"{key}: found a {type(entry).__name__}; allowed: an object with auth")
    fields = cast("dict[str, Any]", entry)
    redaction.register(*(fields[name] for name in fields.keys() - _SHOWN_FIELDS if isinstance(fields[name], str)))
    unknown = sorted(set(fields) - _ENTRY_FIELDS)
    if unknown:
        raise DockerConfigError(f"{key}: found {unknown[0]!r}; allowed: {', '.join(sorted(_ENTRY_FIELDS))}")
    wrong = next((name for name, value in sorted(fields.items()) if not isinstance(value, str)), None)
    if wrong:
        raise DockerConfigError(f"{key}.{wrong}: found a {type(fields[wrong]).__name__}; allowed: a string")
    # A lone surrogate, which JSON can spell, would fail where the document is stored, in an error that shows it.
    wrong = next((name for name, value in sorted(fields.items()) if not _is_unicode(value)), None)
    if wrong:
        raise DockerConfigError(f"{key}.{wrong}: found half of a surrogate pair; allowed: text that UTF-8 can hold")
    username, password = _credentials(key, fields)
    return RegistryLogin(username, password, fields.get("email"))


def _credentials(key: str, fields: Mapping[str, str]) -> tuple[str, str]:
    if fields.get("auth"):
        username, password = _decode_auth(key, fields["auth"])
    else:
        username, password = fields.get("username", ""), fields.get("password", "")
    if not username or not password or ":" in username:
        raise DockerConfigError(f"{key}.auth: found no user or no password; allowed: base64 of user:password")
    if _has_control_character(username + password.translate(_WITHOUT_LINE_CHARACTERS)):
        raise DockerConfigError(
            f"{key}.auth: found a control character in user or password; allowed: base64 of user:password without any "
            "but the line ends and tabs inside a password"
        )
    if password != password.strip(_LINE_CHARACTERS):
        raise DockerConfigError(
            f"{key}.auth: found a control character at the password's start or end, such as the newline that `echo` "
            "adds; allowed: base64 of user:password without it, as `printf %s` makes it"
        )
    if fields.get("username", username) != username or fields.get("password", password) != password:
        raise DockerConfigError(f"{key}: username or password differ from auth; allowed: auth alone, or all the same")
    return username, password


def _has_control_character(text: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in text)


def _decode_auth(key: str, auth: str) -> tuple[str, str]:
    problem = DockerConfigError(f"{key}.auth: found text that is not base64 of user:password; allowed: that, in UTF-8")
    try:
        decoded = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, ValueError):
        raise problem from None
    username, colon, password = decoded.partition(":")
    if not colon:
        raise problem
    return username, password


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _entry(login: RegistryLogin) -> dict[str, str]:
    entry = {"auth": login.auth}
    return entry if login.email is None else {**entry, "email": login.email}

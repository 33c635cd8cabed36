"""The dockerconfigjson document: reading, checking, normalising and digesting it without ever showing a credential."""

import base64
import binascii
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from pullsecrets import redaction
from pullsecrets.credential import keys, kubelet
from pullsecrets.data import is_open, json_type, mapping
from pullsecrets.errors import BadInputError
from pullsecrets.image import host_problem

DIGEST_LENGTH = 16
_ENTRY_FIELDS = ("auth", "email", "password", "username")
_SHOWN_FIELDS = {"email", "username", "serveraddress"}
_TOKENS = ("identitytoken", "registrytoken")
_BYTE_ORDER_MARK = "\ufeff"
_MANIFEST_AS_YAML = re.compile(r"^kind:\s*Secret\b", re.MULTILINE)
_MANIFEST = (
    "found a Secret's manifest; allowed: its content, as "
    "`kubectl get secret NAME -o jsonpath='{.data.\\.dockerconfigjson}' | base64 -d` prints it"
)
_VARIABLE = re.compile(r"\$[A-Z_][A-Z0-9_]*|%[A-Z_][A-Z0-9_]*%")
_QUOTES = "\"'"
_KEPT_QUOTES = "quotes around it, which a shell kept"
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
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What the stored form leaves out or spells otherwise than the document that was read."""

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
    """Read and check a dockerconfigjson document: as leniently as the kubelet reads it, into the form that is stored.

    What the kubelet would read and no registry needs, such as a wildcard as host, is refused.

    Raises:
        DockerConfigError: when it is no JSON, has no `auths`, or an entry is no usable login.
    """
    content = load(document)
    logins: dict[str, RegistryLogin] = {}
    notes: list[str] = []
    for key, entry in _auths(content).items():
        host = _host(key)
        login, said = _login(host, entry, _keeper(content, key))
        if logins.setdefault(host, login) != login:
            raise DockerConfigError(
                f"dockerconfigjson: auths: found two logins for {host!r} in different spellings; allowed: one"
            )
        notes += [f"{keys.shown(key)!r} is stored as {host!r}"] if key != host else []
        notes += said
    return DockerConfig(logins, tuple(notes))


def require_meant(config: DockerConfig) -> None:
    """Refuse logins that are surely not what somebody meant to store, although they have the right form.

    Raises:
        DockerConfigError: naming what was found, never the value.
    """
    for host, login in config.logins.items():
        for name, text in (("user", login.username), ("password", login.password)):
            found = _doubt(text, host)
            if found is None and login.username[0] == login.password[-1] and login.username[0] in _QUOTES:
                found = _KEPT_QUOTES
            if found:
                raise DockerConfigError(
                    f"dockerconfigjson: auths[{host!r}]: the {name} is or has {found}; allowed: the {name} alone, or "
                    "--as-is where it is meant so"
                )


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
        text = document.decode("utf-8") if isinstance(document, bytes) else document
    except UnicodeDecodeError:
        raise DockerConfigError("dockerconfigjson: found bytes that are not UTF-8; allowed: a JSON document") from None
    text = text.removeprefix(_BYTE_ORDER_MARK)
    redaction.register(text.strip())
    try:
        content: Any = json.loads(text, object_pairs_hook=_unique_keys, parse_int=float)
    except json.JSONDecodeError as error:
        # The decoder's own exception carries the whole document: only the position may leave.
        raise DockerConfigError(f"dockerconfigjson: {_no_json(text, error.lineno, error.colno)}") from None
    except RecursionError:
        raise DockerConfigError("dockerconfigjson: nested too deeply; allowed: a JSON object with auths") from None
    if not isinstance(content, dict):
        raise DockerConfigError(f"dockerconfigjson: found {json_type(content)}; allowed: a JSON object with auths")
    return cast("dict[str, Any]", content)


def is_json_object(text: str) -> bool:
    """Tell whether a password is a key file, which may have several lines."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _no_json(text: str, line: int, column: int) -> str:
    if _MANIFEST_AS_YAML.search(text):
        return _MANIFEST
    with suppress(binascii.Error, ValueError):
        if base64.b64decode(text, validate=False).lstrip().startswith(b"{"):
            return "found base64 of a document; allowed: the document itself, as `base64 -d` gives it"
    return f"not JSON at line {line} column {column}; allowed: a JSON document"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise DockerConfigError("dockerconfigjson: found a key twice in one object; allowed: each key once")
    return dict(pairs)


def _auths(content: Mapping[str, Any]) -> Mapping[str, Any]:
    auths = content.get("auths")
    if isinstance(auths, dict) and auths:
        return cast("dict[str, Any]", auths)
    if content.get("kind") == "Secret":
        found = _MANIFEST
    elif auths is not None and auths != {}:
        found = f"auths: found {json_type(auths)}; allowed: an object with hosts as keys"
    elif any("auth" in mapping(entry) for entry in content.values()):
        found = "found a .dockercfg, which has no auths around its hosts; allowed: it inside auths: `jq '{auths: .}'`"
    else:
        store = _keeper(content, "")
        found = f"auths: missing; expected at least one host{_kept_outside(store)}"
    raise DockerConfigError(f"dockerconfigjson: {found}")


def _keeper(content: Mapping[str, Any], key: str) -> str | None:
    """Return the credential helper that a docker config names for a key, or for every key that has none."""
    helpers = mapping(content.get("credHelpers"))
    found = helpers.get(key) or content.get("credsStore") or next(iter(helpers.values()), None)
    return found if isinstance(found, str) else None


def _kept_outside(store: str | None) -> str:
    return f"; the credential store {store!r} keeps it outside the document: use --from-docker-config" if store else ""


def _host(key: str) -> str:
    found = keys.registry_of(key)
    # What stands before an @ would be user and password.
    allowed = host_problem(found or keys.shown(key))
    if found is None or allowed or "@" in key:
        raise DockerConfigError(
            f"dockerconfigjson: auths: found host {keys.shown(key)!r}; allowed: {allowed or 'the host without a user'}"
        )
    return found


def _login(host: str, entry: Any, keeper: str | None) -> tuple[RegistryLogin, list[str]]:
    key = f"dockerconfigjson: auths[{host!r}]"
    if not isinstance(entry, dict) and entry is not None:
        raise DockerConfigError(f"{key}: found {json_type(entry)}; allowed: an object with auth")
    given = _fields(key, host, mapping(entry))
    fields = {name: value for name, value in given.items() if name in _ENTRY_FIELDS and value}
    if not fields.keys() & {"auth", "username", "password"}:
        raise DockerConfigError(f"{key}.auth: {_no_login(given, keeper)}")
    username, password = _credentials(key, fields)
    notes = [f"left out of {host!r}: {', '.join(left)}"] if (left := _left_out(given, fields)) else []
    login = RegistryLogin(username, _without_final_newline(password), fields.get("email"))
    if login.password != password:
        notes.append(f"the final newline of the key file for {host!r} is left out")
    elif fields.get("auth", login.auth) != login.auth:
        notes.append(f"auth of {host!r} is stored in one line, padded")
    return login, notes


def _fields(key: str, host: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry's fields by their names in lower case, as the kubelet knows them.

    Raises:
        DockerConfigError: when one is there twice, or is no text.
    """
    fields = {name.lower(): value for name, value in entry.items()}
    if len(fields) != len(entry):
        raise DockerConfigError(f"{key}: found a field twice, in capitals and not; allowed: each once")
    secrets = (fields[name] for name in fields.keys() - _SHOWN_FIELDS if isinstance(fields[name], str))
    # The name of the host is no secret: hidden, it would be missing in every message.
    redaction.register(*(value for value in secrets if value != host))
    for name, value in sorted(fields.items()):
        if name not in _ENTRY_FIELDS or value is None:
            continue
        if not isinstance(value, str):
            raise DockerConfigError(f"{key}.{name}: found {json_type(value)}; allowed: a string")
        # A lone surrogate, which JSON can spell, would fail where the document is stored, in an error that shows it.
        if not _is_unicode(value):
            raise DockerConfigError(f"{key}.{name}: found half of a surrogate pair; allowed: text that UTF-8 can hold")
    return fields


def _no_login(fields: Mapping[str, Any], keeper: str | None) -> str:
    token = next((name for name in _TOKENS if fields.get(name)), None)
    if token:
        return (
            f"found {token} alone, which the kubelet cannot use; allowed: user and password, such as an access token "
            "or a robot account that the registry makes"
        )
    return f"found no user or no password; allowed: base64 of user:password{_kept_outside(keeper)}"


def _left_out(given: Mapping[str, Any], kept: Mapping[str, Any]) -> list[str]:
    """Name the fields that are not stored; one that docker does not know may be named after anything."""
    names = sorted(given.keys() - kept.keys())
    known = [name for name in names if name in {*_ENTRY_FIELDS, *_TOKENS, "serveraddress"}]
    return known if known == names else [*known, "fields that the kubelet does not read"]


def _credentials(key: str, fields: Mapping[str, str]) -> tuple[str, str]:
    if "auth" in fields:
        username, password = _decoded(key, fields["auth"])
    else:
        username, password = fields.get("username", ""), fields.get("password", "")
    if not username or not password:
        raise DockerConfigError(f"{key}.auth: found no user or no password; allowed: base64 of user:password")
    if ":" in username:
        raise DockerConfigError(
            f"{key}.username: found a colon, where the kubelet would cut the name; allowed: a user name without one"
        )
    stored = _without_final_newline(password)
    if _has_control_character(username + stored.translate(_WITHOUT_LINE_CHARACTERS)):
        raise DockerConfigError(
            f"{key}.auth: found a control character in user or password; allowed: base64 of user:password without any "
            "but the line ends and tabs inside a password"
        )
    if stored != stored.strip(_LINE_CHARACTERS):
        raise DockerConfigError(
            f"{key}.auth: found a control character at the password's start or end, such as the newline that `echo` "
            "adds; allowed: base64 of user:password without it, as `printf %s` makes it"
        )
    if fields.get("username", username) != username or fields.get("password", password) != password:
        raise DockerConfigError(f"{key}: username or password differ from auth; allowed: auth alone, or all the same")
    return username, password


def _decoded(key: str, auth: str) -> kubelet.Login:
    try:
        login = kubelet.decode_auth(auth)
    except kubelet.UnreadableError:
        login = None
    if login is None or not _is_unicode("".join(login)):
        raise DockerConfigError(f"{key}.auth: found text that is not base64 of user:password; allowed: that, in UTF-8")
    return login


def _without_final_newline(password: str) -> str:
    return password.rstrip("\r\n") if is_json_object(password) else password


def _has_control_character(text: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in text)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _doubt(text: str, host: str) -> str | None:
    invisible = next((character for character in text if unicodedata.category(character) == "Cf"), None)
    if invisible:
        return f"an invisible character (U+{ord(invisible):04X})"
    if not text.strip():
        return "nothing but blanks"
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        return _KEPT_QUOTES
    if is_open(text) or _VARIABLE.fullmatch(text):
        return "a variable that nothing has filled in"
    return "the name of the host" if text == host else None


def _entry(login: RegistryLogin) -> dict[str, str]:
    entry = {"auth": login.auth}
    return entry if login.email is None else {**entry, "email": login.email}

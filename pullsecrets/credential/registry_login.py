"""Proves that a registry accepts a credential, by logging in to its `/v2/` API as a node that pulls would.

The protocol is the distribution project's token authentication
(https://distribution.github.io/distribution/spec/auth/token/), or HTTP's Basic.
"""

import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urlencode, urlsplit
from urllib.request import getproxies, parse_http_list, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, SSLError
from urllib3.util import parse_url

from pullsecrets import redaction
from pullsecrets.credential.document import DockerConfig, RegistryLogin
from pullsecrets.errors import BadInputError, PullSecretsError, UnreachableError

TIMEOUT = urllib3.Timeout(connect=5, read=15)
LARGEST_ANSWER = 1 << 20

_API_HOSTS = {"docker.io": "registry-1.docker.io"}
"""Where a registry's API is, when not under the host that images use: as containerd has it, which pulls for the kubelet
(https://github.com/containerd/containerd/blob/main/core/remotes/docker/registry.go)."""

# `parse_http_list` has taken the backslashes out of quoted strings.
_PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"(.*)"|(\S*))', re.DOTALL)
_CHALLENGE = re.compile(r"(?P<scheme>[A-Za-z][\w-]*)(?:\s+(?P<first>.*))?", re.DOTALL)


class LoginRefusedError(PullSecretsError):
    """A registry does not accept the credential, or asks for it in a way that would not be safe."""


@dataclass(frozen=True)
class LoginProof:
    """How one registry answered to the credential."""

    host: str
    tested: bool
    """Whether the registry looked at the credential: one that lets everybody in says nothing about a password."""
    realm_host: str | None
    """Host of the token service that was given user and password, where it is not the registry's own."""


@dataclass(frozen=True)
class _Challenge:
    scheme: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: urllib3.HTTPHeaderDict
    content: bytes


def verify(credential: DockerConfig, ca_file: Path | None = None) -> tuple[LoginProof, ...]:
    """Log in to each host of a credential.

    User and password go only to the host itself and to the token service that it names, over TLS, and along no
    redirect. Plain HTTP is spoken to this machine alone.

    Args:
        credential: one login per host.
        ca_file: PEM certificates to trust beside the system's own.

    Raises:
        BadInputError: when the file of certificates cannot be used.
        LoginRefusedError: when a registry refuses the credential.
        UnreachableError: when a registry or its token service does not answer.
    """
    context = _tls(ca_file)
    return tuple(_Registry(host, context).log_in(credential.logins[host]) for host in credential.hosts)


class _Registry:
    """One registry's API."""

    def __init__(self, host: str, context: ssl.SSLContext) -> None:
        self._host = host
        self._context = context
        self._api_host = _API_HOSTS.get(host, host)
        self._base = f"https://{self._api_host}/v2/"
        self._local = _is_loopback(urlsplit(self._base))

    def log_in(self, login: RegistryLogin) -> LoginProof:
        basic = {"Authorization": f"Basic {login.auth}"}
        asked = self._first_answer()
        self._require_registry(asked)
        if asked.status == 200:
            # It lets everybody in. Some of those still look at a login that they are given.
            self._require_accepted(self._get(self._base, basic))
            return LoginProof(self._host, tested=False, realm_host=None)
        if asked.status != 401:
            raise self._unexpected(asked, self._base)
        offered = challenges_of(asked.headers.getlist("WWW-Authenticate"))
        challenges = {item.scheme: item for item in reversed(offered)}
        if "bearer" in challenges:
            return self._with_token(challenges["bearer"], login, basic)
        if "basic" in challenges:
            self._require_accepted(self._get(self._base, basic))
            return LoginProof(self._host, tested=True, realm_host=None)
        found = ", ".join(sorted(challenges)) or "none"
        raise LoginRefusedError(
            f"registry {self._host}: asks for a login by {found}; allowed: Bearer or Basic, which the kubelet supports"
        )

    def _first_answer(self) -> _Answer:
        try:
            return self._get(self._base)
        except _NotTlsError:
            if not self._local:
                raise UnreachableError(
                    f"registry {self._host}: does not speak TLS; a credential leaves this machine over TLS only"
                ) from None
            self._base = f"http://{self._api_host}/v2/"
            return self._get(self._base)

    def _with_token(self, challenge: _Challenge, login: RegistryLogin, basic: Mapping[str, str]) -> LoginProof:
        realm = self._realm(challenge)
        # Without the challenge's scope, as docker and podman log in: not every account may have what it names.
        query = {"account": login.username}
        if challenge.parameters.get("service"):
            query["service"] = challenge.parameters["service"]
        separator = "&" if realm.query else "?"
        answer = self._get(f"{realm.geturl()}{separator}{urlencode(query)}", basic)
        if answer.status in {400, 401, 403}:
            raise self._refused(f"by its token service {realm.netloc}", answer)
        if answer.status != 200:
            raise self._unexpected(answer, f"{realm.scheme}://{realm.netloc}")
        token = _token_in(answer.content)
        if token is None:
            raise LoginRefusedError(f"registry {self._host}: its token service {realm.netloc} answered without a token")
        redaction.register(token)
        self._require_accepted(self._get(self._base, {"Authorization": f"Bearer {token}"}))
        return LoginProof(self._host, tested=True, realm_host=None if realm.netloc == self._api_host else realm.netloc)

    def _realm(self, challenge: _Challenge) -> SplitResult:
        try:
            realm = urlsplit(challenge.parameters.get("realm", ""))
            usable = bool(realm.hostname) and realm.username is None and not realm.fragment and (realm.port or 1) > 0
        except ValueError:
            realm, usable = urlsplit(""), False
        if not usable:
            raise LoginRefusedError(f"registry {self._host}: names no usable token service in WWW-Authenticate")
        if realm.scheme != "https" and not (realm.scheme == "http" and self._local and _is_loopback(realm)):
            raise LoginRefusedError(
                f"registry {self._host}: names the token service {realm.netloc} without TLS; nothing was sent there; "
                "let the registry name an https realm"
            )
        return realm

    def _require_accepted(self, answer: _Answer) -> None:
        if answer.status in {401, 403}:
            raise self._refused("by its API", answer)
        if answer.status != 200:
            raise self._unexpected(answer, self._base)
        self._require_registry(answer)

    def _require_registry(self, answer: _Answer) -> None:
        """Refuse a page for people, such as a portal's: a registry answers 200 with JSON or with nothing."""
        if answer.status == 200 and "Docker-Distribution-Api-Version" not in answer.headers and not _is_api(answer):
            raise LoginRefusedError(
                f"registry {self._host}: {urlsplit(self._base).netloc} answers with a page, not as a registry's API; "
                "name the host that images use"
            )

    def _refused(self, by: str, answer: _Answer) -> LoginRefusedError:
        return LoginRefusedError(
            f"registry {self._host}: the login was refused {by} ({answer.status}); check user and password, and that "
            "the account may pull"
        )

    def _unexpected(self, answer: _Answer, url: str) -> PullSecretsError:
        where = urlsplit(url).netloc
        if 300 <= answer.status < 400:
            target = urlsplit(answer.headers.get("Location", "")).hostname or "another path"
            return LoginRefusedError(
                f"registry {self._host}: {where} redirects to {target}, where no credential is sent; "
                "name the host that images use"
            )
        if answer.status == 429 or answer.status >= 500:
            return UnreachableError(f"registry {self._host}: {where} answers {answer.status}; try again later")
        return LoginRefusedError(
            f"registry {self._host}: {where} answers {answer.status}; is it a registry with a v2 API?"
        )

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> _Answer:
        try:
            with _pool(url, self._context) as pool:
                response = pool.request(
                    "GET",
                    url,
                    headers=dict(headers or {}),
                    redirect=False,
                    retries=False,
                    timeout=TIMEOUT,
                    preload_content=False,
                )
                content = response.read(LARGEST_ANSWER, decode_content=True)
                return _Answer(response.status, response.headers, content)
        except SSLError as error:
            raise self._tls_failure(error, url) from None
        except HTTPError as error:
            raise UnreachableError(
                f"registry {self._host}: {urlsplit(url).netloc} does not answer ({type(error).__name__}); "
                "check the host and the network"
            ) from None

    def _tls_failure(self, error: SSLError, url: str) -> PullSecretsError:
        text = str(error)
        if "CERTIFICATE_VERIFY_FAILED" not in text and "certificate" not in text:
            return _NotTlsError(f"registry {self._host}: {urlsplit(url).netloc} does not speak TLS")
        reason = text[text.find("certificate verify failed") :].partition(" (")[0]
        return UnreachableError(
            f"registry {self._host}: the certificate of {urlsplit(url).netloc} is not trusted ({reason}); "
            "name the CA's PEM file with --registry-ca"
        )


class _NotTlsError(UnreachableError):
    """What answers does not speak TLS."""


def challenges_of(headers: list[str]) -> list[_Challenge]:
    """Return the ways to log in that `WWW-Authenticate` headers offer, schemes in lower case (RFC 9110, 11.6.1)."""
    found: list[_Challenge] = []
    parameters: dict[str, str] = {}
    for item in (part for header in headers for part in parse_http_list(header)):
        rest = item
        start = _CHALLENGE.fullmatch(item)
        if start and not _PARAMETER.fullmatch(item):
            parameters = {}
            found.append(_Challenge(start["scheme"].lower(), parameters))
            rest = start["first"] or ""
        parameter = _PARAMETER.fullmatch(rest.strip())
        if parameter:
            name, quoted, plain = parameter.groups()
            parameters.setdefault(name.lower(), plain if quoted is None else quoted)
    return found


def _is_api(answer: _Answer) -> bool:
    try:
        json.loads(answer.content.strip() or b"{}")
    except (ValueError, RecursionError):
        return False
    return True


def _token_in(content: bytes) -> str | None:
    try:
        answer: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    fields = cast("dict[str, Any]", answer)
    token = fields.get("token") or fields.get("access_token")
    # A line end would let the token service add headers to our request.
    return token if isinstance(token, str) and token.isascii() and token.isprintable() else None


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            cause = "no PEM certificates" if isinstance(error, ssl.SSLError) else error.strerror
            raise BadInputError(f"--registry-ca {ca_file}: {cause}; name a file of PEM certificates") from None
    return context


def _pool(url: str, context: ssl.SSLContext) -> urllib3.PoolManager:
    parts = urlsplit(url)
    proxy = None if _is_loopback(parts) or proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    return _through(proxy, context) if proxy else urllib3.PoolManager(ssl_context=context)


def _through(proxy: str, context: ssl.SSLContext) -> urllib3.ProxyManager:
    """Use a proxy as the environment names it: over HTTP when it has no scheme, and with the login in its URL.

    urllib3 alone would leave the login out.

    Raises:
        urllib3.exceptions.LocationParseError: when it is no URL.
    """
    found = parse_url(proxy if "://" in proxy else f"http://{proxy}")
    headers: dict[str, str] = {}
    if found.auth:
        user, _, password = found.auth.partition(":")
        login = RegistryLogin(unquote(user), unquote(password))
        headers["Proxy-Authorization"] = f"Basic {login.auth}"
    return urllib3.ProxyManager(found._replace(auth=None).url, proxy_headers=headers, ssl_context=context)


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""The cluster and the identity that a kubeconfig names, read as kubectl reads it.

Rules are those of client-go v0.36.3 (tools/clientcmd loader.go, client_config.go and validation.go; transport;
plugin/pkg/client/auth/exec), which kubectl is built on: of several files the first one that sets a value wins, relative
paths are those of the file that they stand in, and a mistake is an error. Nothing is ever sent as somebody else: an
exec plugin that fails is no reason to continue as `system:anonymous`.
"""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlsplit

import urllib3
import yaml
from requests.utils import get_environ_proxies
from urllib3.util import make_headers
from urllib3.util.ssl_ import create_urllib3_context

from pullsecrets import redaction
from pullsecrets.errors import BadInputError
from pullsecrets.kube.exec_plugin import ExecPlugin, Issued

HOME_FILE = "~/.kube/config"
IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a Pod's token and the API server's CA."""
CONNECTIONS = 16

_LISTS = ("clusters", "contexts", "users")
_PROXIES = ("http", "https", "socks5")
_IN_A_NAME = "!#$&'*+-.^_`|~"
"""Beside letters and digits, what stands in a header's name as it is; `%` escapes the rest, itself too."""


@dataclass(frozen=True)
class Reach:
    """What a person says of the cluster and of who they are, as kubectl's options of the same names."""

    kubeconfig: Path | None = None
    context: str | None = None
    user: str | None = None
    """Whom to impersonate (`--as`)."""
    groups: tuple[str, ...] = ()
    """Groups to impersonate (`--as-group`), with a user only."""


CURRENT = Reach()
"""The kubeconfig's current context, as the user that it names."""


@dataclass(frozen=True)
class Cluster:
    """Where the API server is, and what its certificate is judged by."""

    server: str
    authority: str | None = None
    """PEM certificates; None for the system's own."""
    verified: bool = True
    server_name: str | None = None
    proxy: str | None = None


@dataclass(frozen=True)
class User:
    """Who is asking, and as whom."""

    token: str | None = None
    token_file: Path | None = None
    """Read again for each request: its writer replaces it before the token ends."""
    certificate: str | None = None
    """PEM of certificate and key."""
    plugin: ExecPlugin | None = None
    login: tuple[str, str] | None = None
    impersonation: tuple[tuple[str, str], ...] = ()
    """Headers, of which a name may stand more than once."""

    @property
    def known(self) -> bool:
        """Whether there is anything that says who asks; without it the API server takes us for system:anonymous."""
        return any((self.token, self.token_file, self.certificate, self.plugin, self.login))


class Access:
    """Connections to one API server as one identity. Safe across threads."""

    def __init__(self, cluster: Cluster, user: User) -> None:
        """Read nothing and run nothing yet: an exec plugin runs when the first request is made."""
        self.cluster = cluster
        self.user = user
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def headers(self) -> urllib3.HTTPHeaderDict:
        """Return the headers that say who asks.

        Raises:
            BadInputError: when the token's file cannot be read.
            UnreachableError: when the exec plugin gives no credential.
        """
        headers = urllib3.HTTPHeaderDict()
        if self.cluster.server.startswith("https") and (value := self._authorization()):
            headers["Authorization"] = value
        for name, value in self.user.impersonation:
            headers.add(name, value)
        return headers

    def renew(self) -> bool:
        """Run the exec plugin again after the server refused its credential; False when there is none to run."""
        if self.user.plugin is None or self.user.token or self.user.token_file:
            return False
        self.user.plugin.renew()
        return True

    @property
    def pool(self) -> urllib3.PoolManager:
        """Connections with the client certificate of this moment.

        Raises:
            BadInputError: when a certificate or the proxy cannot be used.
        """
        issued = self._issued()
        certificate = (issued and issued.certificate) or self.user.certificate
        if certificate not in self._pools:
            self._pools[certificate] = _pool(self.cluster, certificate)
        return self._pools[certificate]

    def _issued(self) -> Issued | None:
        return self.user.plugin.credential() if self.user.plugin else None

    def _authorization(self) -> str | None:
        user = self.user
        token = _token_in(user.token_file) if user.token_file else user.token
        if not token and (issued := self._issued()):
            token = issued.token
        if token:
            redaction.register(token)
            return f"Bearer {token}"
        return make_headers(basic_auth=":".join(user.login))["authorization"] if user.login else None


def read_access(reach: Reach) -> Access:
    """Find the cluster and the identity: in the kubeconfig, else in what the kubelet gives the Pod around us.

    Raises:
        BadInputError: when there is none, or it cannot be used; values are left out, for each may be a credential.
    """
    files = _files(reach)
    try:
        merged = _merged(files)
        if not merged["contexts"] and not reach.kubeconfig and not reach.context and (around := _around_us()):
            return around
        access = _access(merged, reach)
    except (BadInputError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        wanted = f"context {reach.context!r} of the kubeconfig" if reach.context else "a kubeconfig"
        raise BadInputError(
            f"cluster.context: {wanted} cannot be used ({_mistake(error)}); set KUBECONFIG to a file, or "
            "cluster.context to one of its contexts (`kubectl config get-contexts`)"
        ) from None
    return access


def _files(reach: Reach) -> list[Path]:
    if reach.kubeconfig:
        if not reach.kubeconfig.exists():
            raise BadInputError(f"--kubeconfig {reach.kubeconfig}: no such file")
        return [reach.kubeconfig]
    named = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    found = dict.fromkeys(named or [str(Path(HOME_FILE).expanduser())])
    return [file for file in map(Path, found) if file.exists()]


def _merged(files: Iterable[Path]) -> dict[str, Any]:
    """Return the entries of all files by name, each with the folder of its file, and the first current context."""
    merged: dict[str, Any] = {kind: {} for kind in _LISTS}
    for file in files:
        content = cast("dict[str, Any]", _yaml(file) or {})
        for kind in _LISTS:
            one = kind.removesuffix("s")
            for entry in cast("list[dict[str, Any]]", content.get(kind) or []):
                if one not in entry:
                    raise BadInputError(f"{file}: an entry of {kind} has no key {one!r}")
                merged[kind].setdefault(str(entry["name"]), (entry[one] or {}, file.absolute().parent))
        if content.get("current-context"):
            merged.setdefault("current-context", content["current-context"])
    return merged


def _yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInputError(f"not YAML{where} of {file}") from None


def _access(merged: Mapping[str, Any], reach: Reach) -> Access:
    name = reach.context or merged.get("current-context")
    if not name:
        raise BadInputError("no current-context" if merged["contexts"] else "no configuration found")
    context, _ = _named(merged, "contexts", name)
    entry, folder = _named(merged, "clusters", context.get("cluster"))
    cluster = _cluster(entry, folder)
    found, folder = _named(merged, "users", context["user"]) if context.get("user") else ({}, folder)
    user = _user(found, folder, (entry, cluster.authority), reach)
    # kubectl asks for a login here. In the clear nothing is sent anyway.
    if cluster.server.startswith("https") and not user.known:
        raise BadInputError(f"user {context.get('user')!r}: neither a token nor a certificate nor an exec plugin")
    return Access(cluster, user)


def _named(merged: Mapping[str, Any], kind: str, name: str | None) -> tuple[dict[str, Any], Path]:
    try:
        return merged[kind][name]
    except KeyError:
        raise BadInputError(f"{kind}: no entry named {name!r}") from None


def _cluster(entry: Mapping[str, Any], folder: Path) -> Cluster:
    server = str(entry.get("server") or "")
    if not server:
        raise BadInputError("the cluster has no server")
    authority = _pem(entry, "certificate-authority", folder)
    verified = not entry.get("insecure-skip-tls-verify")
    if authority and not verified:
        raise BadInputError("insecure-skip-tls-verify together with a certificate-authority is not allowed")
    proxy = str(entry.get("proxy-url") or "") or None
    if proxy and (urlsplit(proxy).scheme not in _PROXIES or not urlsplit(proxy).hostname):
        raise BadInputError(f"proxy-url: allowed: a URL that begins with {', '.join(_PROXIES)}")
    return Cluster(
        server=(server if "://" in server else f"http://{server}").rstrip("/"),
        authority=authority,
        verified=verified,
        server_name=entry.get("tls-server-name") or None,
        proxy=proxy,
    )


def _user(entry: Mapping[str, Any], folder: Path, told: tuple[Mapping[str, Any], str | None], reach: Reach) -> User:
    if provider := entry.get("auth-provider"):
        raise BadInputError(
            f"auth-provider {provider.get('name')!r}: allowed: an exec plugin in its place, such as `kubectl "
            "oidc-login` or `gke-gcloud-auth-plugin`"
        )
    certificate = _pem(entry, "client-certificate", folder)
    key = _pem(entry, "client-key", folder)
    if certificate and not key:
        raise BadInputError("client-certificate without client-key")
    token_file = entry.get("tokenFile")
    if token_file:
        _token_in(folder / token_file)
    login = (str(entry["username"]), str(entry.get("password") or "")) if entry.get("username") else None
    return User(
        token=entry.get("token") or None,
        token_file=folder / token_file if token_file else None,
        certificate=f"{certificate}\n{key}" if certificate else None,
        plugin=ExecPlugin.of(entry["exec"], folder, *told) if entry.get("exec") else None,
        login=login,
        impersonation=_impersonation(entry, reach),
    )


def _impersonation(entry: Mapping[str, Any], reach: Reach) -> tuple[tuple[str, str], ...]:
    """Return the headers of https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/."""
    user = reach.user or entry.get("as")
    if not user:
        if reach.groups or any(entry.get(key) for key in ("as-groups", "as-uid", "as-user-extra")):
            raise BadInputError("a group, UID or extra to impersonate without a user: add --as, or `as` to the user")
        return ()
    extra = cast("dict[str, Sequence[str]]", entry.get("as-user-extra") or {})
    named = (
        ("Impersonate-User", [user]),
        ("Impersonate-Uid", [entry["as-uid"]] if entry.get("as-uid") else []),
        ("Impersonate-Group", reach.groups or entry.get("as-groups") or []),
        *((f"Impersonate-Extra-{quote(key, safe=_IN_A_NAME)}", extra[key]) for key in sorted(extra)),
    )
    return tuple((name, str(value)) for name, values in named for value in values)


def _pem(entry: Mapping[str, Any], key: str, folder: Path) -> str | None:
    """Return what stands in a kubeconfig as data or in the file that it names; the data come first."""
    if data := entry.get(f"{key}-data"):
        try:
            return base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError):
            raise BadInputError(f"{key}-data: no base64 of PEM") from None
    return (folder / entry[key]).read_text(encoding="utf-8") if entry.get(key) else None


def _around_us() -> Access | None:
    """Return what the kubelet gives a Pod; None outside of a cluster."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    token, authority = IN_CLUSTER / "token", IN_CLUSTER / "ca.crt"
    if not host or not port or not token.exists() or not authority.exists():
        return None
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(Cluster(server, authority.read_text(encoding="utf-8")), User(token_file=token))


def _token_in(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadInputError(f"tokenFile {file}: {error.strerror}") from None


def _pool(cluster: Cluster, certificate: str | None) -> urllib3.PoolManager:
    settings: dict[str, Any] = {
        "num_pools": 4,
        "maxsize": CONNECTIONS,
        "ssl_context": _ssl_context(cluster, certificate),
        **({"server_hostname": cluster.server_name} if cluster.server_name else {}),
    }
    if not cluster.verified:
        # Whoever wrote insecure-skip-tls-verify knows; a warning for each request would hide everything else.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    proxy = cluster.proxy or _proxy_of_environment(cluster.server)
    if proxy is None:
        return urllib3.PoolManager(**settings)
    if proxy.startswith("socks"):
        # As in Go the proxy resolves the name.
        return _socks(proxy.replace("socks5://", "socks5h://", 1), settings)
    parts = urlsplit(proxy)
    login = f"{parts.username}:{parts.password or ''}" if parts.username else None
    return urllib3.ProxyManager(
        proxy, proxy_headers=make_headers(proxy_basic_auth=login) if login else None, **settings
    )


def _socks(proxy: str, settings: Mapping[str, Any]) -> urllib3.PoolManager:
    try:
        from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415 - needs a package of its own
    except ImportError:
        raise BadInputError(
            "proxy-url: a SOCKS proxy needs the package PySocks: install `pull-secrets[socks]`"
        ) from None
    return SOCKSProxyManager(proxy, **settings)


def _proxy_of_environment(server: str) -> str | None:
    """Return HTTPS_PROXY or its like unless NO_PROXY excepts the server; as in Go this machine is never proxied."""
    if urlsplit(server).hostname in {"localhost", "127.0.0.1", "::1"}:
        return None
    return get_environ_proxies(server).get(urlsplit(server).scheme)


def _ssl_context(cluster: Cluster, certificate: str | None) -> ssl.SSLContext:
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if cluster.verified else ssl.CERT_NONE)
    # Go does not judge by RFC 5280 to the letter, and many a cluster's own CA would not pass.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = cluster.verified
    try:
        if cluster.authority:
            context.load_verify_locations(cadata=cluster.authority)
        else:
            context.load_default_certs()
        if certificate:
            _load_certificate(context, certificate)
    except ssl.SSLError as error:
        raise BadInputError(f"kubeconfig: a certificate or key is no usable PEM ({error.reason})") from None
    return context


def _load_certificate(context: ssl.SSLContext, certificate: str) -> None:
    # OpenSSL reads it from a file only; there is one as long as that takes, and nobody else can read it.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(certificate)
        file.flush()
        context.load_cert_chain(file.name)


def _mistake(error: Exception) -> str:
    """Say what is wrong with a kubeconfig, without a value of it: each may be a credential."""
    if isinstance(error, (BadInputError, OSError)):
        return str(error).partition("\n")[0]
    return "not a kubeconfig: its values have the wrong types"

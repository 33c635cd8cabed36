"""Reads a kubeconfig: which server, how to trust it, and who asks."""

import base64
import os
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_FALLBACK = Path("~/.kube/config")


class KubeconfigError(Exception):
    """The kubeconfig cannot be used. The message names the part, never a credential."""


@dataclass(frozen=True)
class Access:
    """What is needed to talk to one cluster as one user.

    Attributes:
        server: the API server's address.
        namespace: where namespaced objects go that name none.
        tls: how to verify the server and, with a client certificate, prove who asks.
        headers: what to send with each request to prove who asks; called each time, because tokens expire.
        server_name: the name to expect in the server's certificate where it is not that of the address.
        proxy: address of a proxy, empty for none.
    """

    server: str
    namespace: str
    tls: ssl.SSLContext = field(repr=False)
    headers: Callable[[], dict[str, str]] = field(repr=False)
    server_name: str = ""
    proxy: str = ""


def parse(text_or_path: str) -> dict[str, Any]:
    """Reads a kubeconfig from its text (YAML or JSON) or from the file that the text names.

    Raises:
        KubeconfigError: it is neither.
    """
    path = Path(text_or_path).expanduser() if "\n" not in text_or_path else None
    try:
        text, folder = (path.read_text("utf-8"), path.parent) if path and path.is_file() else (text_or_path, Path.cwd())
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (OSError, yaml.YAMLError):
        # The parser's own message would quote the text, which may hold credentials.
        raise KubeconfigError("the kubeconfig is neither a readable file nor YAML") from None
    if not isinstance(found, dict):
        raise KubeconfigError("the kubeconfig is neither the path of a file nor a YAML object")
    return _absolute(found, folder)


def ambient() -> dict[str, Any]:
    """Reads what kubectl would: the files that KUBECONFIG lists, the first to name a thing wins, or ~/.kube/config.

    Raises:
        KubeconfigError: there is none.
    """
    listed = [Path(entry) for entry in os.environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    files = [path for path in listed or [_FALLBACK.expanduser()] if path.is_file()]
    if not files:
        where = " and ".join(map(str, listed)) or str(_FALLBACK)
        raise KubeconfigError(f"no kubeconfig at {where}: set KUBECONFIG or the provider's `kubeconfig`")
    merged: dict[str, Any] = {}
    for found in map(parse, map(str, files)):
        for key, value in found.items():
            if isinstance(value, list):
                known = {entry["name"] for entry in merged.setdefault(key, [])}
                merged[key] += [entry for entry in value if entry["name"] not in known]
            else:
                merged.setdefault(key, value)
    return merged


def active_cluster(config: dict[str, Any], context: str = "", cluster: str = "") -> dict[str, Any] | None:
    """The entry of the cluster that a context, by default the current one, leads to; None when there is none."""
    chosen = _named(config, "contexts", "context", context or config.get("current-context", ""))
    if chosen is None:
        return None
    return _named(config, "clusters", "cluster", cluster or chosen.get("cluster", ""))


def access(config: dict[str, Any], context: str = "", cluster: str = "", namespace: str = "") -> Access:
    """Works out how to talk to the cluster.

    Args:
        config: the kubeconfig.
        context: the context to use instead of the current one.
        cluster: the cluster to use instead of the context's.
        namespace: the namespace to use instead of the context's.

    Raises:
        KubeconfigError: something it names is not there or cannot be used.
    """
    context_name = context or config.get("current-context") or ""
    chosen = _named(config, "contexts", "context", context_name)
    if chosen is None:
        known = ", ".join(sorted(str(e.get("name")) for e in config.get("contexts") or [])) or "none"
        raise KubeconfigError(f"context {context_name!r} is not in the kubeconfig, which has: {known}")
    entry = active_cluster(config, context_name, cluster)
    if entry is None or not entry.get("server"):
        raise KubeconfigError(f"context {context_name!r} leads to no cluster with a server in the kubeconfig")
    user = _named(config, "users", "user", chosen.get("user", "")) or {}
    tls = _tls(entry)
    return Access(
        server=str(entry["server"]).rstrip("/"),
        namespace=namespace or chosen.get("namespace") or "default",
        tls=tls,
        headers=_headers(config, context_name, user, tls),
        server_name=entry.get("tls-server-name") or "",
        proxy=entry.get("proxy-url") or "",
    )


def _absolute(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    for section, kind in (("clusters", "cluster"), ("users", "user")):
        for entry in config.get(section) or []:
            content = entry.get(kind) or {}
            for key in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
                if content.get(key):
                    content[key] = str(folder / content[key])
    return config


def _named(config: dict[str, Any], section: str, kind: str, name: str) -> dict[str, Any] | None:
    entries = config.get(section) or []
    return next((entry.get(kind) or {} for entry in entries if entry.get("name") == name), None)


def _tls(cluster: dict[str, Any]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
        if cluster.get("certificate-authority-data"):
            authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
            context = ssl.create_default_context(cadata=authority)
        elif cluster.get("certificate-authority"):
            context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    except (OSError, ValueError) as error:
        raise KubeconfigError(f"the cluster's certificate authority cannot be read: {type(error).__name__}") from None
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _headers(
    config: dict[str, Any], context: str, user: dict[str, Any], tls: ssl.SSLContext
) -> Callable[[], dict[str, str]]:
    if user.get("exec") or user.get("auth-provider"):
        return _external_headers(config, context, tls)
    _load_certificate(user, tls)
    if user.get("tokenFile"):
        path = Path(user["tokenFile"])
        return lambda: {"Authorization": f"Bearer {path.read_text('utf-8').strip()}"}
    if user.get("token"):
        fixed = {"Authorization": f"Bearer {user['token']}"}
    elif user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        fixed = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    else:
        fixed = {}
    return lambda: fixed


def _load_certificate(user: dict[str, Any], tls: ssl.SSLContext) -> None:
    try:
        certificate, key = (_material(user, part) for part in ("client-certificate", "client-key"))
        if not certificate:
            return
        # Python loads a key from a file only: a private one that lives for this one call.
        with tempfile.NamedTemporaryFile(prefix="kubeconfig-") as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            tls.load_cert_chain(file.name)
    except (OSError, ValueError) as error:
        raise KubeconfigError(f"the user's client certificate cannot be used: {type(error).__name__}") from None


def _material(user: dict[str, Any], part: str) -> bytes:
    if user.get(f"{part}-data"):
        return base64.b64decode(user[f"{part}-data"])
    return Path(user[part]).read_bytes() if user.get(part) else b""


def _external_headers(config: dict[str, Any], context: str, tls: ssl.SSLContext) -> Callable[[], dict[str, str]]:
    """Leaves users whose credentials come from a command or a cloud to the Kubernetes client library.

    It takes a second to load, so other users do without.
    """
    from kubernetes import client  # noqa: PLC0415
    from kubernetes import config as loader  # noqa: PLC0415

    settings = client.Configuration()
    try:
        loader.load_kube_config_from_dict(config, context=context, client_configuration=settings)
    except loader.ConfigException as error:
        raise KubeconfigError(f"the user of context {context!r} has no usable credentials: {error}") from None
    if settings.cert_file:
        tls.load_cert_chain(settings.cert_file, settings.key_file)

    def headers() -> dict[str, str]:
        token = settings.get_api_key_with_prefix("authorization")
        return {"Authorization": token} if token else {}

    return headers

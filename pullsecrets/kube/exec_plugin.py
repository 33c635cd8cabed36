"""Credentials that a kubeconfig's exec plugin issues.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from pullsecrets import redaction
from pullsecrets.errors import BadInputError, UnreachableError

GROUP = "client.authentication.k8s.io"
VERSIONS = (f"{GROUP}/v1", f"{GROUP}/v1beta1")
MODES = ("Never", "IfAvailable", "Always")
SPARE = timedelta(seconds=10)
"""How long before its end a credential counts as ended."""


@dataclass(frozen=True)
class Issued:
    """What a plugin issued."""

    token: str | None
    certificate: str | None
    """PEM of certificate and key."""
    ends: datetime | None

    @property
    def ended(self) -> bool:
        """Whether it must be issued anew."""
        return self.ends is not None and datetime.now(UTC) + SPARE >= self.ends


@dataclass
class ExecPlugin:
    """A command that prints an ExecCredential. Safe across threads: it runs once for all who wait."""

    command: list[str]
    environment: Mapping[str, str]
    version: str
    mode: str
    cluster: Mapping[str, Any] | None
    """What it is told of the cluster, where it asks for that."""
    hint: str = ""
    """How to install it, as the kubeconfig says."""

    def __post_init__(self) -> None:
        """Have nothing issued yet."""
        self._lock = threading.Lock()
        self._issued: Issued | None = None

    @classmethod
    def of(
        cls, entry: Mapping[str, Any], folder: Path, cluster: Mapping[str, Any], authority: str | None
    ) -> "ExecPlugin":
        """Take the plugin from a kubeconfig.

        Args:
            entry: the user's `exec`.
            folder: of the kubeconfig, which a command with a path is relative to.
            cluster: the cluster's entry.
            authority: PEM certificates that sign the API server's; None for the system's own.

        Raises:
            BadInputError: when a value is missing or not allowed.
        """
        command, version = str(entry.get("command") or ""), str(entry.get("apiVersion") or "")
        if not command or version not in VERSIONS:
            raise BadInputError(f"exec: allowed: a command, and an apiVersion among {', '.join(VERSIONS)}")
        # v1 wants it said; before, it was IfAvailable.
        mode = entry.get("interactiveMode") or ("IfAvailable" if version != VERSIONS[0] else "")
        if mode not in MODES:
            raise BadInputError(f"exec.interactiveMode: allowed: {', '.join(MODES)}")
        return cls(
            command=[str(folder / command) if os.sep in command else command, *map(str, entry.get("args") or ())],
            environment={str(item["name"]): str(item["value"]) for item in entry.get("env") or ()},
            version=version,
            mode=mode,
            cluster=_told(cluster, authority) if entry.get("provideClusterInfo") else None,
            hint=str(entry.get("installHint") or ""),
        )

    def credential(self) -> Issued:
        """Return the credential; the plugin runs when there is none yet, or the last one ended.

        Raises:
            UnreachableError: when the plugin fails or prints no credential.
        """
        with self._lock:
            if self._issued is None or self._issued.ended:
                self._issued = self._run()
            return self._issued

    def renew(self) -> None:
        """Have a new credential issued for the next request."""
        with self._lock:
            self._issued = None

    def _run(self) -> Issued:
        interactive = self.mode != "Never" and sys.stdin is not None and sys.stdin.isatty()
        if self.mode == "Always" and not interactive:
            raise self._failed("it needs a terminal, and standard input is not one")
        spec: dict[str, Any] = {"interactive": interactive, **({"cluster": self.cluster} if self.cluster else {})}
        wanted = {"apiVersion": self.version, "kind": "ExecCredential", "spec": spec}
        try:
            # Its messages go where ours go: they may ask a person to log in.
            done = subprocess.run(
                self.command,
                env={**os.environ, **self.environment, "KUBERNETES_EXEC_INFO": json.dumps(wanted)},
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
        except OSError as error:
            hint = f"; {self.hint}" if self.hint else ""
            raise self._failed(f"{error.strerror}{hint}") from None
        if done.returncode:
            raise self._failed(f"it exited with {done.returncode}; its output is above")
        return self._issued_by(done.stdout)

    def _issued_by(self, printed: str) -> Issued:
        try:
            document = cast("dict[str, Any]", json.loads(printed))
            status = cast("dict[str, str]", document["status"])
            if document["kind"] != "ExecCredential" or document["apiVersion"] != self.version:
                raise self._failed(f"it did not print an ExecCredential of {self.version}")
            token, certificate, key = (status.get(name) for name in ("token", "clientCertificateData", "clientKeyData"))
            ends = status.get("expirationTimestamp")
            expiry = datetime.fromisoformat(ends) if ends else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._failed("it did not print an ExecCredential with a status") from None
        redaction.register(*(value for value in (token, key) if value))
        if bool(certificate) != bool(key) or not (token or certificate):
            raise self._failed("its status has neither a token nor a client certificate with its key")
        return Issued(token, f"{certificate}\n{key}" if certificate else None, expiry)

    def _failed(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"kubeconfig: exec plugin {self.command[0]!r} gave no credential: {why}; nothing was sent to the cluster"
        )


def _told(cluster: Mapping[str, Any], authority: str | None) -> dict[str, Any]:
    """Return what a plugin is told of the cluster, in the ExecCredential's form."""
    keys = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression")
    told = {key: cluster[key] for key in keys if key in cluster}
    if authority:
        told["certificate-authority-data"] = base64.b64encode(authority.encode()).decode()
    for extension in cluster.get("extensions") or ():
        if extension.get("name") == f"{GROUP}/exec":
            told["config"] = extension.get("extension")
    return told

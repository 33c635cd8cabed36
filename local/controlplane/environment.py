"""The environment in which `pulumi`, `kubectl`, `bao` and `pull-secrets` meet this control plane."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local import toolchain
from local.controlplane.files import private_folder, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.controlplane.layout import Layout

# Prepended to what the variable holds where the file is sourced; all others replace.
_EXTENDED = {"PATH": ":", "NO_PROXY": ","}
# What README recommends for every stack: see docs/operations.md, "Settings".
PULUMI_SETTINGS = {
    "PULUMI_SKIP_CHECKPOINTS": "true",
    "PULUMI_PARALLEL": "64",
    "PULUMI_PARALLEL_DIFF": "true",
}
# A Kubernetes plugin below 4.29 knows the program's provider options `enablePatchForce` and `upsertExistingObjects` not
# yet: the first has this variable there, and an upsert is what its every create is. The engine's only use of PULUMI_DEV
# in `up`, `preview` and `destroy` is to leave out the warning that the plugin is older than the SDK asks for, which
# `status` says once.
_OLDER_PLUGIN = {"PULUMI_K8S_ENABLE_PATCH_FORCE": "true", "PULUMI_DEV": "true"}
_LOOPBACK = "127.0.0.1,localhost"


def variables(layout: Layout, kubeconfig: Path, vault_address: str, token: Path) -> dict[str, str]:
    """Return the variables, without what the caller's environment adds to them.

    Args:
        layout: where things stand.
        kubeconfig: of the identity that runs `pulumi`.
        vault_address: URL of OpenBao.
        token: file of the token to show OpenBao.

    Returns:
        The variables; VAULT_TOKEN among them is a credential.
    """
    passphrase = layout.state / "pulumi-passphrase"
    if not passphrase.exists():
        write_private(passphrase, secrets.token_urlsafe(32))
    return {
        "KUBECONFIG": str(kubeconfig),
        "VAULT_ADDR": vault_address,
        "VAULT_CACERT": str(layout.openbao_authority),
        "VAULT_TOKEN": token.read_text().strip(),
        "PULUMI_HOME": str(layout.state / "pulumi-home"),
        "PULUMI_BACKEND_URL": f"file://{private_folder(layout.state / 'pulumi')}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        **PULUMI_SETTINGS,
        **_OLDER_PLUGIN,
        # gRPC would log, in the middle of a program's output, that the engine closes its connections at the end.
        "GRPC_VERBOSITY": "NONE",
        "NO_PROXY": _LOOPBACK,
        "PATH": ":".join(_path(layout)),
    }


def merged(own: Mapping[str, str], outer: Mapping[str, str]) -> dict[str, str]:
    """Return the variables as they are inside an outer environment: PATH and NO_PROXY keep its entries behind ours."""
    result = dict(own)
    for name, separator in _EXTENDED.items():
        if outer.get(name):
            result[name] = f"{own[name]}{separator}{outer[name]}"
    return result


def write(layout: Layout, own: Mapping[str, str]) -> None:
    """Write the variables as `env` (to be sourced by a POSIX shell) and `env.json`, both readable by the owner only."""
    shell, data = layout.environment
    write_shell(shell, own)
    write_private(data, json.dumps(merged(own, os.environ), indent=2) + "\n")


def write_shell(file: Path, own: Mapping[str, str]) -> None:
    """Write the variables to a file that a POSIX shell sources, readable by the owner only."""
    lines = ["# Source this file to work with the local control plane. It holds a credential."]
    for name, value in own.items():
        rest = f'"${{{name}:+{_EXTENDED[name]}${name}}}"' if name in _EXTENDED else ""
        lines.append(f"export {name}={shlex.quote(value)}{rest}")
    write_private(file, "\n".join(lines) + "\n")


def _path(layout: Layout) -> list[str]:
    # The shims come first: they start a tool with what it needs. Folders once each, in that order.
    folders = [layout.state / "bin", *(toolchain.binary(tool).parent for tool in ("pulumi", "kubectl", "bao"))]
    return list(dict.fromkeys(str(folder) for folder in [*folders, Path(sys.executable).parent]))

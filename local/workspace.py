"""Runs the real `pulumi` on this program in a folder of its own, so that no run changes a committed stack file."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from local.paths import repository
from pullsecrets.kube.kubeconfig import Reach, read_access

PROJECT = "pull-secrets"
_LINKED = ("__main__.py", "pullsecrets", ".venv", "pyproject.toml", "uv.lock")
RUN_SECONDS = 900


class PulumiError(Exception):
    """A `pulumi` command failed; the message is what it printed."""

    def __init__(self, command: str, code: int, printed: str) -> None:
        """Keep the exit code and what was printed."""
        self.code = code
        self.printed = printed
        super().__init__(f"`{command}` exited with {code}:\n{printed}")


def stack_yaml() -> YAML:
    """Return a reader and writer that leaves comments, order and form of a stack file as they are."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


class Workspace:
    """The program in a folder with stack files that may be changed."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        """Link the program into the folder.

        Args:
            root: the folder, made when it is not there.
            environment: variables of the control plane, as `ControlPlane.env()` gives them; they stand over ours.
        """
        self.root = root
        self.environment = {**os.environ, **environment}
        self._known = set[str]()
        root.mkdir(parents=True, exist_ok=True)
        for name in _LINKED:
            link = root / name
            if not link.is_symlink() and (repository() / name).exists():
                link.symlink_to(repository() / name)
        shutil.copyfile(repository() / "Pulumi.yaml", root / "Pulumi.yaml")

    def use_stack(self, stack: str, content: str | None = None) -> None:
        """Give the folder a stack's file and make the stack in the backend if it is not there.

        The control plane's Vault and API server listen on ports of the moment: their addresses and certificates are
        written into the file, for nothing of that is taken from the environment.

        Args:
            stack: the stack's name.
            content: text of the stack file, of which an address stays; by default that of the committed
                `Pulumi.<stack>.yaml`, of which it is replaced.
        """
        committed = repository() / f"Pulumi.{stack}.yaml"
        text = committed.read_text(encoding="utf-8") if content is None else content
        with self.stack_file(stack).open("w", encoding="utf-8") as file:
            yaml = stack_yaml()
            yaml.dump(self._with_vault(yaml.load(text), replace=content is None), file)
        if stack not in self._known:
            self._known = {entry["name"] for entry in json.loads(self.pulumi("stack", "ls", "--json").stdout)}
        if stack not in self._known:
            self.pulumi("stack", "init", stack)
            self._known.add(stack)
        self.release_stale_lock(stack)

    def _with_vault(self, content: Any, *, replace: bool) -> Any:
        vault = content["config"].get(f"{PROJECT}:vault")
        # A stack of sealed registries has none.
        if vault and (replace or "address" not in vault):
            vault["address"] = self.environment["VAULT_ADDR"]
            certificates = Path(self.environment["VAULT_CACERT"]).read_text(encoding="utf-8")
            vault["caBundle"] = LiteralScalarString(certificates)
        auth = vault.setdefault("auth", {}) if vault else {}
        if vault and (replace or "kubernetesHost" not in auth):
            cluster = read_access(Reach(kubeconfig=Path(self.environment["KUBECONFIG"]))).cluster
            auth["kubernetesHost"] = cluster.server
            auth["kubernetesCaCert"] = LiteralScalarString(cluster.authority or "")
        return content

    def stack_file(self, stack: str) -> Path:
        """Return the path of a stack's file in this folder."""
        return self.root / f"Pulumi.{stack}.yaml"

    def pulumi(self, *arguments: str, check: bool = True, stream: bool = False) -> subprocess.CompletedProcess[str]:
        """Run `pulumi` and wait for it.

        Args:
            arguments: the command's words; no credentials.
            check: whether an exit code other than 0 is an error.
            stream: whether its output goes to the terminal and not to the caller.

        Raises:
            PulumiError: when it failed.
        """
        # In a terminal pulumi draws its live display; a caller gets plain lines.
        done = subprocess.run(
            self.command(*arguments) if stream else self.command("--non-interactive", *arguments),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=None if stream else subprocess.PIPE,
            stderr=None if stream else subprocess.STDOUT,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        if check and done.returncode:
            raise PulumiError(f"pulumi {' '.join(arguments)}", done.returncode, done.stdout or "see above")
        return done

    def command(self, *arguments: str) -> list[str]:
        """Return the argument list of a `pulumi` command in this folder."""
        found = shutil.which("pulumi", path=self.environment["PATH"]) or "pulumi"
        return [found, "-C", str(self.root), *arguments]

    def release_stale_lock(self, stack: str) -> None:
        """Take away the lock of a run on this machine that was killed; one that lives keeps its lock.

        The file backend leaves the lock of a killed run forever, and `pulumi cancel` takes any lock away, so the
        holder is looked at first.
        """
        backend = Path(urlsplit(self.environment["PULUMI_BACKEND_URL"]).path)
        locks = (backend / ".pulumi" / "locks").glob(f"**/{stack}/*.json")
        for lock in locks:
            holder = json.loads(lock.read_text(encoding="utf-8"))
            if holder["hostname"] == socket.gethostname() and not psutil.pid_exists(holder["pid"]):
                lock.unlink(missing_ok=True)

"""A stack of its own on the running control plane, beside whatever else runs there."""

import base64
import copy
import io
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from local.controlplane import ControlPlane
from local.controlplane.api import KubernetesApi, RequestRefused
from local.controlplane.waiting import NotYet, until
from local.workspace import PROJECT, Workspace
from pullsecrets.config import StackConfig, load_stack
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.kubeconfig import Reach
from tests import preloaded

STACK = "e2e"
ADOPTED = "e2e-adopted"
OTHERS_ENTRY = "default-dockercfg-abc"
DEADLINE = 60

BASELINE: dict[str, Any] = {
    "cluster": {"name": "e2e"},
    "vault": {
        "mount": "secret",
        "auth": {"mount": "kubernetes-e2e", "role": "external-secrets-e2e"},
        "egress": {"cidrs": ["127.0.0.1/32"]},
    },
    "eso": {"store": "vault-e2e", "networkPolicy": "eso-allow-egress-to-vault-e2e"},
    "registries": [
        {
            "name": "e2e-app",
            "hosts": ["app.registry.example.com"],
            "rejectedHosts": ["registry.example.com"],
            "selector": {"e2e.platform/app": "true"},
            "namespaces": ["e2e-*"],
        },
        {
            "name": "e2e-web",
            "hosts": ["web.registry.example.com", "mirror.registry.example.com"],
            "path": "e2e/registries/web",
            "selector": {"e2e.platform/web": "true"},
            "namespaces": ["e2e-*"],
        },
    ],
    "tenants": {
        "protect": False,
        "onLeave": "delete",
        "namespaces": [
            {"name": ADOPTED, "adopt": True, "registries": ["e2e-app", "e2e-web"], "serviceAccounts": ["builder"]},
        ],
        "matrices": [
            {
                "services": ["auth", "user"],
                "environments": ["dev"],
                "pattern": "e2e-{service}-{environment}",
                "registries": ["e2e-app"],
            }
        ],
    },
    "gate": "warn",
}


def baseline(name: str) -> dict[str, Any]:
    """The baseline with everything named after another stack, to stand beside it."""
    return json.loads(json.dumps(BASELINE).replace(STACK, name))


RUN_FOR = "TESTS_STACK"
"""Variable that tells the processes of a stack's runs, and what they start, from those of other stacks."""
READING = {"audit", "doctor"}
"""Commands of the command line that change nothing."""


class Stack:
    """The end-to-end stack: its configuration, the commands run on it, and the cluster and Vault it works on.

    It knows whether anything may have changed since its last `up`, so that tests which only look share one.
    """

    def __init__(
        self, plane: ControlPlane, folder: Path, name: str = STACK, baseline: Mapping[str, Any] = BASELINE
    ) -> None:
        self._plane = plane
        self.name = name
        self.baseline = baseline
        self._admin = plane.admin()
        self._python = preloaded.environment(*preloaded.OURS)
        variables = plane.env()
        path = f"{self._python / 'bin'}{os.pathsep}{variables['PATH']}"
        self._workspace = Workspace(folder, {**variables, "PATH": path, RUN_FOR: name})
        self._run_in(self._python)
        self._deployed: Mapping[str, Any] | None = None
        self._seeded = False
        self.auditor = plane.kubeconfig_as("auditor")
        self.operator = plane.kubeconfig_as("operator")
        # Everything that a run printed, for the canary test.
        self.printed: list[str] = []
        self.passwords = {registry["name"]: self.new_password() for registry in baseline["registries"]}

    @contextmanager
    def clean(self, *namespaces: str) -> Iterator[None]:
        """Nothing of the stack is there when the block begins, of an earlier run neither, and nothing after it.

        Args:
            namespaces: what a destroy leaves, taken away too.
        """
        self._remove(namespaces)
        yield
        self._remove(namespaces)
        vault = self._plane.vault("root")
        for registry in self.config().registries:
            vault.secrets.kv.v2.delete_metadata_and_all_versions(registry.path, mount_point="secret")
        # Which takes its file along.
        self._workspace.pulumi("stack", "rm", "--yes", self.name)

    def _remove(self, namespaces: Sequence[str]) -> None:
        self.configure()
        self.pulumi("destroy", "--yes", "--skip-preview")
        self.delete_namespace(*namespaces)

    def _run_in(self, environment: Path) -> None:
        """Have the program and its dynamic resources run in a virtual environment."""
        link = self._workspace.root / ".venv"
        link.unlink(missing_ok=True)
        link.symlink_to(environment)

    @contextmanager
    def own_interpreters(self) -> Iterator[None]:
        """What a run starts is its own, as everywhere but here: nothing is loaded before, and nothing forked."""
        self._run_in(Path(sys.prefix))
        yield
        self._run_in(self._python)

    @property
    def plane(self) -> ControlPlane:
        """The control plane, of which anything may be stopped or written."""
        self._deployed, self._seeded = None, False
        return self._plane

    @property
    def admin(self) -> KubernetesApi:
        """The cluster as its administrator, who may change anything."""
        self._deployed = None
        return self._admin

    @property
    def workspace(self) -> Workspace:
        """The program's folder, in which anything may be run."""
        self._deployed, self._seeded = None, False
        return self._workspace

    @property
    def seeder_token(self) -> str:
        """Vault token of whoever may write credentials."""
        return self._plane.layout.seeder_token.read_text().strip()

    @staticmethod
    def new_password() -> str:
        """A password that is looked for in everything that is printed."""
        return f"canary-{secrets.token_hex(16)}"

    def configure(self, change: Mapping[str, Any] | None = None) -> None:
        """Write the stack file: the baseline with some top-level keys replaced."""
        stream = io.StringIO()
        wanted = self._wanted(change)
        YAML(typ="safe").dump({"config": {f"{PROJECT}:{key}": value for key, value in wanted.items()}}, stream)
        self._workspace.use_stack(self.name, stream.getvalue())

    def _wanted(self, change: Mapping[str, Any] | None) -> dict[str, Any]:
        return copy.deepcopy({**self.baseline, **(change or {})})

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Run a `pulumi` command on the stack and return what it printed."""
        if arguments[0] != "preview" and arguments[:2] != ("stack", "export"):
            self._deployed = None
        done = self._workspace.pulumi(*arguments, "--stack", self.name, check=not fails)
        self.printed.append(done.stdout)
        assert bool(done.returncode) == fails, done.stdout
        return done.stdout

    def up(self, change: Mapping[str, Any] | None = None, *, fails: bool = False) -> str:
        """Configure and run `pulumi up`."""
        self.configure(change)
        printed = self.pulumi("up", "--yes", "--skip-preview", fails=fails)
        self._deployed = None if fails else self._wanted(change)
        return printed

    def kill_when(self, check: Callable[[], object], command: str = "up") -> None:
        """SIGKILL a run in the moment when `check` raises `NotYet` no more, which must be before the run is through."""
        argv = self.workspace.command("--non-interactive", command, "--yes", "--skip-preview", "--stack", self.name)
        with subprocess.Popen(argv, env=self.workspace.environment, stdout=subprocess.DEVNULL) as process:
            try:
                until(check, DEADLINE, f"the moment to kill `pulumi {command}`")
                assert process.poll() is None, "the run was through before"
            finally:
                process.kill()

    def deployed_as(self, change: Mapping[str, Any] | None = None) -> None:
        """Have the stack as a configuration says, by an `up` unless that was the last that was done."""
        if self._deployed == self._wanted(change):
            self.configure(change)
        else:
            self.up(change)

    def command(
        self, *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a `pull-secrets` command on the stack."""
        done = subprocess.run(
            [
                str(self._python / "bin" / "pull-secrets"),
                *arguments,
                "--stack",
                self.name,
                "--directory",
                str(self._workspace.root),
            ],
            env={**self._workspace.environment, **(environment or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.printed += [done.stdout, done.stderr]
        self._note(arguments, done.returncode)
        return done

    def _note(self, arguments: tuple[str, ...], code: int) -> None:
        """Note what a command may have changed; a seed that was refused has written nothing."""
        if arguments[0] == "seed":
            self._seeded = self._seeded and (bool(code) or "--dry-run" in arguments)
        elif arguments[0] not in READING or "--fix" in arguments:
            self._deployed, self._seeded = None, False

    def credential(self, registry: str, password: str | None = None) -> str:
        """A dockerconfigjson document for a registry, with its canary as password."""
        hosts = next(item["hosts"] for item in self.baseline["registries"] if item["name"] == registry)
        login = f"bot:{password or self.passwords[registry]}"
        entry = {"auth": base64.b64encode(login.encode()).decode(), "email": "bot@example.com"}
        return json.dumps({"auths": dict.fromkeys(hosts, entry)})

    def seed(self, registry: str, document: str | None = None, *options: str) -> subprocess.CompletedProcess[str]:
        """Seed a registry's credential from standard input."""
        text = self.credential(registry) if document is None else document
        token = self.seeder_token
        arguments = ("seed", registry, "--from-file", "-", *options)
        return self.command(*arguments, stdin=text, environment={"VAULT_TOKEN": token})

    def seed_all(self) -> None:
        """Make sure that each registry holds its credential, and that what is deployed already receives it."""
        if self._seeded:
            return
        for registry in self.passwords:
            done = self.seed(registry, None, "--yes", "--json")
            assert done.returncode == 0, done.stderr
            if json.loads(done.stdout)["outcome"] == "written":
                self.force_sync(registry)
        self._seeded = True

    def force_sync(self, registry: str) -> str | None:
        """Have ESO read a registry's credential again at once, where its fan-out is there; return what it is told."""
        fanout = f"/apis/external-secrets.io/v1/clusterexternalsecrets/{registry}"
        if not self.find(fanout):
            return None
        value = str(time.time_ns())
        change = {"metadata": {"annotations": {"external-secrets.io/force-sync": value}}}
        self._admin.call("PATCH", fanout, change, "application/merge-patch+json")
        return value

    def audit(self, *options: str) -> dict[str, Any]:
        """Coverage as `pull-secrets audit --json` gives it."""
        done = self.command("audit", "--json", *options, environment={"KUBECONFIG": str(self.auditor)})
        assert done.returncode in {0, 1}, done.stderr
        return json.loads(done.stdout)

    def client(self, kubeconfig: Path) -> KubernetesClient:
        """A client of the library in this process, as one of the identities."""
        self._deployed = None
        return KubernetesClient(Reach(kubeconfig))

    def config(self) -> StackConfig:
        """The stack's configuration as the commands read it."""
        return load_stack(self.name, self._workspace.root)

    def diagnoses(self) -> list[str]:
        """Names of the causes that `pull-secrets doctor` finds, the first one first."""
        token = self.seeder_token
        environment = {"KUBECONFIG": str(self.operator), "VAULT_TOKEN": token}
        done = self.command("doctor", "--json", environment=environment)
        assert done.returncode in {0, 1}, done.stderr
        return [item["check"] for item in json.loads(done.stdout)["diagnoses"]]

    def find(self, path: str) -> dict[str, Any] | None:
        """An object as admin, or None."""
        try:
            return self._admin.call("GET", path)
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise

    def get(self, path: str) -> dict[str, Any]:
        """An object as admin, waited for."""

        def check() -> dict[str, Any]:
            found = self.find(path)
            if found is None:
                raise NotYet(f"{path} is not there")
            return found

        return until(check, DEADLINE, path)

    def resources(self) -> dict[str, Any]:
        """Outputs of what state knows by URN, without what every run registers: stack and the engine's provider."""

        def sealed(item: dict[str, Any]) -> Any:
            # What is secret is encrypted anew each time that state is written.
            return "secret" if "ciphertext" in item else item

        deployment = json.loads(self.pulumi("stack", "export"), object_hook=sealed)["deployment"]
        found = [item for item in deployment.get("resources", []) if not item["type"].startswith("pulumi:")]
        return {item["urn"]: item.get("outputs") for item in found}

    def gone(self, path: str) -> None:
        """Wait until an object is not there."""

        def check() -> None:
            found = self.find(path)
            if found is not None:
                raise NotYet(f"{path} is there with finalizers {found['metadata'].get('finalizers')}")

        until(check, DEADLINE, f"{path} gone")

    def patch(self, path: str, change: Any) -> dict[str, Any]:
        """Merge-patch an object as admin, as somebody with `kubectl` would."""
        return self.admin.call("PATCH", path, change, "application/merge-patch+json")

    def make_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Make a namespace that is not the program's, with a ServiceAccount list as OpenShift keeps it."""
        metadata = {"name": name, **({"labels": dict(labels)} if labels else {})}
        self.admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.get(account(name))
        if OTHERS_ENTRY not in self.entries(name):
            entries = [{"name": OTHERS_ENTRY}, *({"name": entry} for entry in self.entries(name))]
            self.patch(account(name), {"imagePullSecrets": entries})

    def delete_namespace(self, *names: str) -> None:
        """Delete namespaces and wait until they are gone."""
        paths = [namespace(name) for name in names]
        for path in filter(self.find, paths):
            self.admin.call("DELETE", path)
        for path in paths:
            self.gone(path)

    def entries(self, name: str, service_account: str = "default") -> list[str]:
        """What a ServiceAccount's `imagePullSecrets` lists."""
        found = self.get(account(name, service_account))
        return [entry["name"] for entry in found.get("imagePullSecrets") or []]


def namespace(name: str) -> str:
    """Path of a namespace."""
    return f"/api/v1/namespaces/{name}"


def account(name: str, service_account: str = "default") -> str:
    """Path of a ServiceAccount."""
    return f"/api/v1/namespaces/{name}/serviceaccounts/{service_account}"


def secret(name: str, registry: str) -> str:
    """Path of a pull Secret."""
    return f"/api/v1/namespaces/{name}/secrets/{registry}"


def changes(printed: str) -> dict[str, int]:
    """The counts at the end of a run, such as `{"created": 3, "unchanged": 20}`."""
    found = printed.rpartition("Resources:")[2]
    return {what: int(count) for count, what in re.findall(r"[+~-]* ?(\d+) (created|updated|deleted|unchanged)", found)}

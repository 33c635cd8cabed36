"""A stack of its own on the running control plane, beside whatever else runs there."""

import base64
import copy
import io
import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from local.controlplane import ControlPlane
from local.controlplane.api import RequestRefused
from local.controlplane.rbac import AUDITORS, DIAGNOSTICIANS, OPERATORS
from local.controlplane.waiting import NotYet, until
from local.workspace import PROJECT, Workspace
from pullsecrets.config import StackConfig, load_stack
from pullsecrets.kube.client import KubernetesClient
from pullsecrets.kube.kubeconfig import Reach

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


class Stack:
    """The end-to-end stack: its configuration, the commands run on it, and the cluster and Vault it works on."""

    def __init__(
        self, plane: ControlPlane, folder: Path, name: str = STACK, baseline: Mapping[str, Any] = BASELINE
    ) -> None:
        self.plane = plane
        self.name = name
        self.baseline = baseline
        self.admin = plane.admin()
        self.workspace = Workspace(folder, plane.env())
        self.auditor = plane.kubeconfig_for("auditor", [AUDITORS])
        self.operator = plane.kubeconfig_for("operator", [OPERATORS, DIAGNOSTICIANS])
        # Everything that a run printed, for the canary test.
        self.printed: list[str] = []
        self.passwords = {registry["name"]: self.new_password() for registry in baseline["registries"]}

    @property
    def seeder_token(self) -> str:
        """Vault token of whoever may write credentials."""
        return self.plane.layout.seeder_token.read_text().strip()

    @staticmethod
    def new_password() -> str:
        """A password that is looked for in everything that is printed."""
        return f"canary-{secrets.token_hex(16)}"

    def configure(self, change: Mapping[str, Any] | None = None) -> None:
        """Write the stack file: the baseline with some top-level keys replaced."""
        config = {**copy.deepcopy(dict(self.baseline)), **(change or {})}
        stream = io.StringIO()
        YAML(typ="safe").dump({"config": {f"{PROJECT}:{key}": value for key, value in config.items()}}, stream)
        self.workspace.use_stack(self.name, stream.getvalue())

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Run a `pulumi` command on the stack and return what it printed."""
        done = self.workspace.pulumi(*arguments, "--stack", self.name, check=not fails)
        self.printed.append(done.stdout)
        assert bool(done.returncode) == fails, done.stdout
        return done.stdout

    def up(self, change: Mapping[str, Any] | None = None, *, fails: bool = False) -> str:
        """Configure and run `pulumi up`."""
        self.configure(change)
        return self.pulumi("up", "--yes", "--skip-preview", fails=fails)

    def command(
        self, *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a `pull-secrets` command on the stack."""
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pullsecrets",
                *arguments,
                "--stack",
                self.name,
                "--directory",
                str(self.workspace.root),
            ],
            env={**self.workspace.environment, **(environment or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.printed += [done.stdout, done.stderr]
        return done

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
        for registry in self.passwords:
            done = self.seed(registry, None, "--yes", "--json")
            assert done.returncode == 0, done.stderr
            if json.loads(done.stdout)["outcome"] == "written":
                self.force_sync(registry)

    def force_sync(self, registry: str) -> None:
        """Have ESO read a registry's credential again at once, where its fan-out is there."""
        fanout = f"/apis/external-secrets.io/v1/clusterexternalsecrets/{registry}"
        if self.find(fanout):
            annotation = {"external-secrets.io/force-sync": str(time.time_ns())}
            self.patch(fanout, {"metadata": {"annotations": annotation}})

    def audit(self, *options: str) -> dict[str, Any]:
        """Coverage as `pull-secrets audit --json` gives it."""
        done = self.command("audit", "--json", *options, environment={"KUBECONFIG": str(self.auditor)})
        assert done.returncode in {0, 1}, done.stderr
        return json.loads(done.stdout)

    def client(self, kubeconfig: Path) -> KubernetesClient:
        """A client of the library in this process, as one of the identities."""
        return KubernetesClient(Reach(kubeconfig))

    def config(self) -> StackConfig:
        """The stack's configuration as the commands read it."""
        return load_stack(self.name, self.workspace.root)

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
            return self.admin.call("GET", path)
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

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace and wait until it is gone."""
        if self.find(namespace(name)):
            self.admin.call("DELETE", namespace(name))
        self.gone(namespace(name))

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

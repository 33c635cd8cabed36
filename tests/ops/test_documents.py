"""Every page of commands, tried from start to end on a real control plane, with its faults made for real."""

import base64
import copy
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from local import sample_gitops
from local.controlplane import rbac
from local.controlplane.api import path_of
from local.controlplane.waiting import NotYet, until
from pullsecrets.credential.document import content_digest
from pullsecrets.kube.marks import FINALIZER_PREFIX
from pullsecrets.workloads.restart import RESTARTED_AT_ANNOTATION
from tests.e2e.stack import OTHERS_ENTRY, Stack, account, namespace, secret
from tests.ops import by_hand, workloads
from tests.ops.conftest import OPS
from tests.ops.test_doctor_platform import until_healthy, vault_sealed
from tests.pages import Scenario, Shell, try_page
from tests.registry import TestRegistry, registry

pytestmark = pytest.mark.controlplane

DOCS = Path(__file__).parents[2] / "docs"
REGISTRY = "ops-app"
PATH = "ops/registries/ops-app"
LABEL = "ops.platform/app"
TENANTS = ["ops-auth-dev", "ops-both", "ops-order-dev", "ops-user-dev"]
IMAGE = "app.registry.example.com/team/{}:1"
DEADLINE = 60


def shell(stack: Stack, kubeconfig: Path, vault_token: str) -> Shell:
    """A shell of somebody, in the folder that holds the stack files."""
    who = {"KUBECONFIG": str(kubeconfig), "VAULT_TOKEN": vault_token}
    # Nobody is there to be asked, nor to look at the preview that `pulumi up` begins with.
    pulumi = {"PULUMI_SKIP_CONFIRMATIONS": "true", "PULUMI_OPTION_SKIP_PREVIEW": "true"}
    author = {"GIT_AUTHOR_NAME": "trial", "GIT_AUTHOR_EMAIL": "trial@example.com"}
    committer = {"GIT_COMMITTER_NAME": "trial", "GIT_COMMITTER_EMAIL": "trial@example.com"}
    return Shell(stack.workspace.root, {**stack.workspace.environment, **who, **pulumi, **author, **committer})


def on_call(stack: Stack) -> Shell:
    """An operator with the token that seeds."""
    return shell(stack, stack.operator, stack.seeder_token)


@contextmanager
def platform_engineer(stack: Stack) -> Iterator[Shell]:
    """A deployer who is an operator and a migrator too, with a token that declares and seeds."""
    groups = [rbac.DEPLOYERS, rbac.AUDITORS, rbac.OPERATORS, rbac.DIAGNOSTICIANS, rbac.MIGRATORS]
    tokens = stack.plane.vault("root").auth.token
    made: Any = tokens.create(policies=["platform", "seeder"], ttl="1h", no_parent=True)
    token = made["auth"]["client_token"]
    try:
        yield shell(stack, stack.plane.kubeconfig_for("engineer", groups), token)
    finally:
        tokens.revoke(token)


def try_as(stack: Stack, who: Shell, page: str, scenario: Scenario) -> None:
    """Try a page, and keep what it printed: for whoever reads of a failure, and to be searched for credentials."""
    try:
        try_page(DOCS / page, who, scenario)
    finally:
        print("".join(who.printed))
        stack.printed += who.printed


def green(stack: Stack) -> None:
    """Wait until every namespace is proved to hold the seeded content."""

    def check() -> None:
        waiting = [row["namespace"] for row in stack.audit()["rows"] if not row["green"]]
        if waiting:
            raise NotYet(f"not green: {waiting}")

    until(check, DEADLINE, "every row green", every=0.5)


@pytest.fixture(scope="class")
def opened(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestRegistry]:
    """A registry that can be logged in to, as the host of the stack's first registry."""
    with registry(tmp_path_factory.mktemp("registry"), tls=False) as running:
        registries = copy.deepcopy(OPS["registries"])
        registries[0]["hosts"] = [running.host]
        stack.configure({"registries": registries})
        deliver(stack, running, stack.new_password())
        yield running
    stack.configure()
    stack.seed_all()
    green(stack)
    (stack.workspace.root / "new.json").unlink()


def document(running: TestRegistry, password: str) -> str:
    """A credential for the registry."""
    login = base64.b64encode(f"{running.behaviour.username}:{password}".encode()).decode()
    return json.dumps({"auths": {running.host: {"auth": login}}})


def new_credential(stack: Stack, running: TestRegistry) -> str:
    """Make a credential at the registry, which ends the one before, and leave it where the pages look for it."""
    running.behaviour.password = stack.new_password()
    text = document(running, running.behaviour.password)
    (stack.workspace.root / "new.json").write_text(text)
    return text


def deliver(stack: Stack, running: TestRegistry, password: str) -> None:
    """Seed a password, whatever the registry thinks of it, and have it everywhere."""
    done = stack.seed(REGISTRY, document(running, password), "--yes")
    assert done.returncode == 0, done.stderr
    stack.force_sync(REGISTRY)
    green(stack)


def stored(stack: Stack) -> tuple[int, str]:
    """The version in Vault and the digest of its content."""
    found = stack.plane.vault("root").secrets.kv.v2.read_secret_version(
        PATH, mount_point="secret", raise_on_deleted_version=True
    )
    return found["data"]["metadata"]["version"], content_digest(found["data"]["data"]["dockerconfigjson"])


def delivered(stack: Stack) -> set[str]:
    """The digests of what the namespaces hold."""
    return {row["digest"] for row in stack.audit()["rows"] if row["registry"] == REGISTRY}


class Incidents:
    """The faults of the incident runbook, each with what must be true once its section was worked through."""

    leaving = "ops-leaving"
    unbound = "ops-order-dev"

    def __init__(self, stack: Stack, running: TestRegistry) -> None:
        self.stack = stack
        self.registry = running
        self.hit = [
            workloads.deployment(f"ops-{name}-dev", name, f"{running.host}/team/{name}:1") for name in ("auth", "user")
        ]

    @contextmanager
    def nobody_can_pull(self) -> Iterator[None]:
        stack = self.stack
        for item in self.hit:
            name = item["metadata"]["namespace"]
            stack.patch(namespace(name), {"metadata": {"labels": {LABEL: None}}})
            stack.patch(account(name), {"imagePullSecrets": [{"name": OTHERS_ENTRY}]})
            stack.gone(secret(name, REGISTRY))
        workloads.create(stack.admin, *self.hit)
        for item in self.hit:
            workloads.until_pull_fails(stack.admin, item)
        yield
        for item in self.hit:
            workloads.until_ready(stack.admin, item)
            assert stack.entries(item["metadata"]["namespace"]) == [OTHERS_ENTRY, REGISTRY]

    @contextmanager
    def refused(self) -> Iterator[None]:
        version, digest = stored(self.stack)
        new_credential(self.stack, self.registry)
        yield
        assert stored(self.stack)[0] == version + 1
        assert delivered(self.stack) == {stored(self.stack)[1]} != {digest}

    @contextmanager
    def wrong(self) -> Iterator[None]:
        right = stored(self.stack)[1]
        deliver(self.stack, self.registry, self.stack.new_password())
        assert stored(self.stack)[1] != right
        yield
        assert delivered(self.stack) == {right}

    def vault_sealed(self) -> AbstractContextManager[None]:
        return vault_sealed(self.stack)

    @contextmanager
    def eso_down(self) -> Iterator[None]:
        self.stack.plane.stop("external-secrets")
        try:
            yield
        finally:
            self.stack.plane.start("external-secrets")

    @contextmanager
    def account_cleared(self) -> Iterator[None]:
        self.stack.patch(account(self.unbound), {"imagePullSecrets": []})
        yield
        assert self.stack.entries(self.unbound) == [REGISTRY]

    @contextmanager
    def terminating(self) -> Iterator[None]:
        stack, name = self.stack, self.leaving
        stack.make_namespace(name, {LABEL: "true"})
        stack.get(secret(name, REGISTRY))
        stack.patch(namespace(name), {"metadata": {"labels": {LABEL: None}}})
        stack.gone(secret(name, REGISTRY))
        stack.admin.call("DELETE", namespace(name))
        assert f"{FINALIZER_PREFIX}{REGISTRY}" in stack.get(namespace(name))["metadata"]["finalizers"]
        yield
        assert stack.find(namespace(name)) is None

    @contextmanager
    def mended(self) -> Iterator[None]:
        until_healthy(self.stack)
        yield

    def put_back(self) -> None:
        """Take away what the faults brought, also where the trial failed."""
        workloads.delete(self.stack.admin, *self.hit)
        for item in self.hit:
            name = item["metadata"]["namespace"]
            self.stack.patch(namespace(name), {"metadata": {"labels": {LABEL: "true"}}})
            self.stack.patch(account(name), {"imagePullSecrets": [{"name": REGISTRY}]})
        by_hand.free(self.stack, self.leaving)


class TestRunbooks:
    """They share the registry that can be logged in to, and leave the stack as it was."""

    def test_the_rotation_runbook(self, stack: Stack, opened: TestRegistry) -> None:
        versions: list[int] = []

        @contextmanager
        def renewed() -> Iterator[None]:
            new_credential(stack, opened)
            yield
            versions.append(stored(stack)[0])
            assert delivered(stack) == {stored(stack)[1]}

        @contextmanager
        def killed() -> Iterator[None]:
            text = new_credential(stack, opened)
            assert stack.seed(REGISTRY, text, "--yes").returncode == 0
            written, digest = stored(stack)
            yield
            assert stored(stack) == (written, digest), "what was written is not written again"
            assert delivered(stack) == {digest}

        @contextmanager
        def regretted() -> Iterator[None]:
            yield
            assert stored(stack)[0] == versions[-1] + 1

        faults = {
            "Planned": renewed,
            "After a leak": renewed,
            "Roll back": regretted,
            "A rotation was interrupted, or ended with 1": killed,
        }
        values = {"PULL_SECRETS_STACK": stack.name, "REGISTRY": REGISTRY}
        try_as(stack, on_call(stack), "runbooks/rotation.md", Scenario(values, faults))
        assert versions == [versions[0], versions[0] + 1]
        assert (stack.workspace.root / "after-the-leak.html").exists()

    def test_the_incident_runbook(self, stack: Stack, opened: TestRegistry) -> None:
        incidents = Incidents(stack, opened)
        scenario = Scenario(
            values={
                "PULL_SECRETS_STACK": stack.name,
                "REGISTRY": REGISTRY,
                "NAMESPACE": incidents.unbound,
                "LEAVING": incidents.leaving,
            },
            faults={
                "All Pods in ImagePullBackOff": incidents.nobody_can_pull,
                "The registry refuses the credential": incidents.refused,
                "A wrong credential was seeded": incidents.wrong,
                "Vault is down or sealed": incidents.vault_sealed,
                "ESO is down": incidents.eso_down,
                "One namespace": incidents.account_cleared,
                "A namespace hangs in Terminating": incidents.terminating,
                "After the incident": incidents.mended,
            },
            acts={
                "Vault is down or sealed": lambda: stack.plane.start("openbao"),
                "ESO is down": lambda: stack.plane.start("external-secrets"),
            },
        )
        try:
            try_as(stack, on_call(stack), "runbooks/incident.md", scenario)
            assert all(row["green"] for row in stack.audit()["rows"])
        finally:
            incidents.put_back()


@pytest.fixture
def repository(stack: Stack, tmp_path: Path) -> Path:
    """A service of the sample repository, pulling from the stack's registry, with everything committed."""
    folder = tmp_path / "gitops"
    sample_gitops.build(folder)
    for service in folder.glob("apps/*"):
        if service.name != "order":
            shutil.rmtree(service)
    host = stack.config().registry(REGISTRY).hosts[0]
    for file in folder.rglob("*.yaml"):
        text = file.read_bytes().replace(sample_gitops.REGISTRY.encode(), host.encode())
        file.write_bytes(text.replace(sample_gitops.SECRET.encode(), REGISTRY.encode()))
    sample_gitops.commit(folder)
    return folder


def test_onboarding(stack: Stack, repository: Path) -> None:
    new, legacy = "ops-onboarded", "ops-legacy"
    by_hand.make_namespace(stack, legacy, "old-regcred")
    by_hand.make_secret(stack, legacy, "old-regcred", by_hand.login(stack.passwords[REGISTRY]))

    @contextmanager
    def declared() -> Iterator[None]:
        yield
        assert stack.entries(new) == [REGISTRY]
        assert stack.find(secret(new, REGISTRY))

    @contextmanager
    def adopted() -> Iterator[None]:
        yield
        assert stack.entries(legacy) == [OTHERS_ENTRY, REGISTRY]
        assert stack.find(secret(legacy, "old-regcred")) is None

    @contextmanager
    def left() -> Iterator[None]:
        yield
        assert stack.find(namespace(new)) is None
        assert stack.entries(legacy) == [OTHERS_ENTRY]
        assert stack.find(secret(legacy, REGISTRY)) is None
        assert not stack.get(namespace(legacy))["metadata"].get("finalizers")

    scenario = Scenario(
        values={
            "PULL_SECRETS_STACK": stack.name,
            "REGISTRY": REGISTRY,
            "NAMESPACE": new,
            "LEGACY": legacy,
            "REPOSITORY": str(repository),
        },
        faults={
            "A new namespace": declared,
            "A namespace with hand-made Secrets": adopted,
            "Offboarding": left,
        },
        acts={"Offboarding": stack.configure},
    )
    try:
        with platform_engineer(stack) as who:
            try_as(stack, who, "onboarding.md", scenario)
    except BaseException:
        by_hand.free(stack, new)
        stack.up()
        raise
    finally:
        by_hand.free(stack, legacy)


SERVICES = ("auth", "user", "order")
WAVES = {
    "rollout": {
        "waves": [{"name": "canary", "services": ["auth"]}, {"name": "rest", "services": ["user", "order"]}],
    }
}


def running(service: str) -> dict[str, Any]:
    return workloads.deployment(f"ops-{service}-dev", service, IMAGE.format(service))


def restarted(stack: Stack, service: str) -> bool:
    found = stack.get(f"/apis/apps/v1/namespaces/ops-{service}-dev/deployments/{service}")
    return RESTARTED_AT_ANNOTATION in (found["spec"]["template"]["metadata"].get("annotations") or {})


@pytest.fixture
def services(stack: Stack) -> Iterator[Stack]:
    """A Deployment of each service, the waves in the stack file, and a Secret that somebody made by hand."""
    stack.configure(WAVES)
    workloads.create(stack.admin, *(running(service) for service in SERVICES))
    for service in SERVICES:
        workloads.until_ready(stack.admin, running(service))
    by_hand.make_secret(stack, "ops-user-dev", "old-regcred", by_hand.login(stack.passwords[REGISTRY]))
    yield stack
    stack.configure()
    workloads.delete(stack.admin, *(running(service) for service in SERVICES))
    for service in SERVICES:
        mark = {"metadata": {"annotations": {f"rollout.apps.platform/{REGISTRY}": None}}}
        stack.patch(namespace(f"ops-{service}-dev"), mark)
    if stack.find(secret("ops-user-dev", "old-regcred")):
        stack.admin.call("DELETE", secret("ops-user-dev", "old-regcred"))


def test_the_production_rollout(services: Stack, repository: Path) -> None:
    stack = services

    @contextmanager
    def waves() -> Iterator[None]:
        yield
        assert all(restarted(stack, service) for service in SERVICES)

    @contextmanager
    def cleaned() -> Iterator[None]:
        assert stack.find(secret("ops-user-dev", "old-regcred"))
        yield
        assert stack.find(secret("ops-user-dev", "old-regcred")) is None

    scenario = Scenario(
        values={
            "PULL_SECRETS_STACK": stack.name,
            "REGISTRY": REGISTRY,
            "REPOSITORY": str(repository),
            "SECOND_WAVE": "rest",
        },
        faults={"3. Roll out in waves": waves, "6. Clean up": cleaned},
    )
    with platform_engineer(stack) as who:
        migrate(stack, repository)
        try_as(stack, who, "production-rollout.md", scenario)


def migrate(stack: Stack, repository: Path) -> None:
    """What onboarding does with a repository."""
    done = stack.command("gitops", "migrate", str(repository), "--yes")
    assert done.returncode == 0, done.stdout + done.stderr


NEW = "spoke-dc-v7"
NEW_REGISTRY = "app-registry-pull"
NEW_NAMESPACE = "apps-hello-dev"


@pytest.fixture
def another_cluster(stack: Stack) -> Iterator[Mapping[str, str]]:
    """Values for a stack that stands beside the first one in the same cluster, which is left as it was."""
    root = stack.workspace.root
    host = "app-registry.apps.sub.comptech-lab.com"
    login = base64.b64encode(f"bot:{stack.new_password()}".encode()).decode()
    (root / "dockerconfig.json").write_text(json.dumps({"auths": {host: {"auth": login}}}))
    yield {
        "PULL_SECRETS_STACK": NEW,
        "REGISTRY": NEW_REGISTRY,
        "DEPLOYERS": rbac.DEPLOYERS,
        "ADMINISTRATORS": rbac.DEPLOYERS,
        "AUDITORS": rbac.AUDITORS,
        "OPERATORS": rbac.OPERATORS,
        "DIAGNOSTICIANS": rbac.DIAGNOSTICIANS,
        "ADMIN_KUBECONFIG": str(stack.plane.kubeconfig("admin")),
    }
    stack.workspace.pulumi("destroy", "--yes", "--skip-preview", "--stack", NEW, check=False)
    stack.workspace.pulumi("stack", "rm", "--yes", "--force", NEW, check=False)
    for item in rbac.roles("external-secrets"):
        stack.admin.apply(item)
    for name in ("dockerconfig.json", "roles.yaml", f"Pulumi.{NEW}.yaml"):
        (root / name).unlink(missing_ok=True)
    assert stack.find(namespace(NEW_NAMESPACE)) is None


def test_adding_a_cluster(stack: Stack, another_cluster: Mapping[str, str]) -> None:
    vault = stack.config().vault
    extra = {
        "eso": {"store": "vault-spoke", "networkPolicy": "eso-allow-egress-to-vault-spoke"},
        "tenants": {"protect": False, "onLeave": "delete"},
        "vault": {"address": vault.address, "caBundle": vault.ca_bundle},
    }

    @contextmanager
    def proved() -> Iterator[None]:
        yield
        assert stack.find(secret(NEW_NAMESPACE, NEW_REGISTRY))
        assert stack.entries(NEW_NAMESPACE) == [NEW_REGISTRY]

    scenario = Scenario(another_cluster, {"5. Verify": proved}, extra=extra)
    with platform_engineer(stack) as who:
        try_as(stack, who, "adding-a-cluster.md", scenario)


# What ClusterRole `edit` is aggregated from; no controller does that here.
EDIT = ("system:aggregate-to-view", "system:aggregate-to-edit", "external-secrets-view")


def test_registry_access(stack: Stack) -> None:
    name = "ops-auth-dev"
    group = "rbac.authorization.k8s.io"
    bindings: list[dict[str, Any]] = [
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"team-{number}", "namespace": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "team"}],
        }
        for number, role in enumerate(EDIT)
    ]
    app = running("auth")
    workloads.create(stack.admin, *bindings, app)
    try:
        workloads.until_ready(stack.admin, app)
        team = shell(stack, stack.plane.kubeconfig_for("team"), "")
        try_as(stack, team, "registry-access.md", Scenario({"NAMESPACE": name, "SECRET": REGISTRY, "LABEL": LABEL}))
        printed = "".join(team.printed)
        for what in ("SecretSynced", "kubernetes.io/dockerconfigjson", f"default   {REGISTRY}"):
            assert what in printed, printed
    finally:
        workloads.delete(stack.admin, app)
        for item in bindings:
            stack.admin.call("DELETE", path_of(item))


def test_the_gitops_repository(stack: Stack, tmp_path: Path) -> None:
    shutil.copyfile(DOCS.parent / "Pulumi.dev.yaml", stack.workspace.root / "Pulumi.dev.yaml")
    folder = tmp_path / "gitops"
    sample_gitops.build(folder)
    for service in folder.glob("apps/*"):
        if service.name not in {"order", "unnamed-23"}:
            shutil.rmtree(service)
    sample_gitops.commit(folder)
    values = {"PULL_SECRETS_STACK": "dev", "GITOPS": str(folder)}
    try_as(stack, on_call(stack), "gitops.md", Scenario(values))
    assert (folder / "components/imagepullsecret/registry-api-tanhdev/kustomization.yaml").exists()
    assert (folder / "environments/dev/apps/order-app.yaml").exists()
    (stack.workspace.root / "Pulumi.dev.yaml").unlink()

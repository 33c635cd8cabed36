"""The servers, as processes on loopback: started, stopped and started again with what they hold."""

import os
import secrets
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Protocol

from local import toolchain
from local.controlplane.waiting import NotYet, until

_SECONDS = 60.0


class Server(Protocol):
    """A server that holds state."""

    def environment(self, password: str | None = None) -> dict[str, str]:
        """Return the variables that name the backend and let Pulumi in, or do not with another password."""
        ...

    def start(self) -> None:
        """Start it and wait until it answers."""
        ...

    def stop(self) -> None:
        """End it at once, whatever it does."""
        ...


class S3:
    """The Versity gateway over a folder."""

    def __init__(self, folder: Path) -> None:
        """Prepare a bucket; nothing runs yet."""
        self._folder = folder
        (folder / "state").mkdir(parents=True)
        self._port = _free_port()
        self._secret = secrets.token_hex()
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self, password: str | None = None) -> dict[str, str]:
        """Return the variables that name the bucket and sign requests."""
        address = f"endpoint=http://127.0.0.1:{self._port}&use_path_style=true&region=us-east-1"
        signed = {"AWS_ACCESS_KEY_ID": "state", "AWS_SECRET_ACCESS_KEY": password or self._secret}
        return {"PULUMI_BACKEND_URL": f"s3://state?{address}", **signed}

    def start(self) -> None:
        """Start the gateway."""
        self._process = subprocess.Popen(
            [toolchain.binary("versitygw"), "--port", f"127.0.0.1:{self._port}", "--quiet", "posix", str(self._folder)],
            env={"PATH": os.defpath, "ROOT_ACCESS_KEY_ID": "state", "ROOT_SECRET_ACCESS_KEY": self._secret},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, deadline=_SECONDS, what="the S3 server answers")

    def stop(self) -> None:
        """Kill the gateway."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/", timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError as error:
            raise NotYet(str(error)) from None


class PostgreSQL:
    """PostgreSQL, as the machine has it; it does not run as root, so there it runs as `nobody`."""

    def __init__(self, folder: Path) -> None:
        """Make a database cluster; nothing runs yet."""
        self._data = folder / "data"
        self._log = folder / "log"
        self._port = _free_port()
        self._password = secrets.token_hex()
        folder.mkdir()
        file = folder / "password"
        file.write_text(self._password)
        if os.geteuid() == 0:
            for path in (folder, file):
                shutil.chown(path, "nobody")
        self._run("initdb", "--username=pulumi", "--auth=scram-sha-256", f"--pwfile={file}", "--no-sync")

    def environment(self, password: str | None = None) -> dict[str, str]:
        """Return the variables that name the database and the login."""
        address = f"postgres://pulumi@127.0.0.1:{self._port}/postgres?sslmode=disable"
        return {"PULUMI_BACKEND_URL": address, "PGPASSWORD": password or self._password}

    def start(self) -> None:
        """Start the database."""
        settings = f"-c listen_addresses=127.0.0.1 -c port={self._port} -c unix_socket_directories="
        self._run("pg_ctl", "start", "--wait", f"--log={self._log}", f"--options={settings}")

    def stop(self) -> None:
        """Stop the database without a goodbye to its clients."""
        self._run("pg_ctl", "stop", "--mode=immediate", check=False)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        known = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        path = os.pathsep.join([*map(str, known), os.environ.get("PATH", os.defpath)])
        found = shutil.which(program, path=path)
        assert found, f"no {program} on this machine: install PostgreSQL (`apt-get install postgresql`)"
        someone: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": ()}
        subprocess.run(
            [found, *arguments, "--pgdata", str(self._data)],
            check=check,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **(someone if os.geteuid() == 0 else {}),
        )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]

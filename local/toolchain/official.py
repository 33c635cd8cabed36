"""What a machine already has, or can download, of Pulumi's own releases: the command line and provider plugins."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from local import paths
from local.toolchain import store
from local.toolchain.errors import ToolMissing
from local.toolchain.recipes import PULUMI_VERSION

# The release puts these beside its command line; without them it cannot run a Python program.
COMPANIONS: Final = ("pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python")

_VERSION: Final = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)$")
_RETRY_AFTER_SECONDS: Final = 24 * 3600.0
_STALLED_SECONDS: Final = 15.0
_LONGEST_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 0.25
_QUIET: Final = {"PULUMI_SKIP_UPDATE_CHECK": "true", "NO_COLOR": "1"}


def supported(version: str) -> bool:
    """Whether a Pulumi command line of this version fits the SDK: the same or newer, and the same major version.

    Builds between releases (`3.260.0-dev`) do not count.
    """
    found, oldest = _VERSION.match(version.strip()), _VERSION.match(PULUMI_VERSION)
    if found is None or oldest is None:
        return False
    numbers, least = [int(part) for part in found.groups()], [int(part) for part in oldest.groups()]
    return numbers >= least and numbers[0] == least[0]


def _is_shim_folder(folder: Path) -> bool:
    """Whether a folder on PATH is the `bin` of a control plane of ours, this clone's or another's."""
    return folder == paths.state_home() / "bin" or (folder.parent / "env.json").is_file()


def _candidates(search_path: str) -> Iterator[Path]:
    for entry in search_path.split(os.pathsep):
        candidate = Path(entry) / "pulumi"
        if not entry or _is_shim_folder(Path(entry)) or not os.access(candidate, os.X_OK):
            continue
        if not candidate.resolve().is_relative_to(paths.cache_home().resolve()):
            yield candidate


def _read(file: Path) -> dict[str, Any]:
    """Return a remembered JSON object; one that is absent or damaged is as good as none."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(file: Path, known: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    complete = file.with_name(f".{file.name}.{os.getpid()}")
    complete.write_text(json.dumps(known), encoding="utf-8")
    complete.replace(file)


def _version_of(executable: Path) -> str:
    """Ask a command line for its version once, and again only when the file has changed."""
    memory = paths.cache_home() / "pulumi-on-path.json"
    state = executable.stat()
    known, mark = _read(memory), [state.st_mtime_ns, state.st_size]
    remembered = known.get(str(executable))
    if isinstance(remembered, dict) and remembered.get("mark") == mark:
        return str(remembered.get("version", ""))
    try:
        asked = subprocess.run(
            [executable, "version"], env=os.environ | _QUIET, capture_output=True, text=True, timeout=20, check=False
        )
        version = asked.stdout.strip() if asked.returncode == 0 else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""
    _write(memory, known | {str(executable): {"mark": mark, "version": version}})
    return version


@functools.cache
def _pulumi_on(search_path: str) -> Path | None:
    for candidate in _candidates(search_path):
        beside = (candidate.parent, candidate.resolve().parent)
        folder = next((place for place in beside if all((place / name).is_file() for name in COMPANIONS)), None)
        if folder is not None and supported(_version_of(candidate)):
            return folder
    return None


def pulumi_folder() -> Path | None:
    """Return the folder on PATH with a complete Pulumi release in the supported range, or None."""
    return _pulumi_on(os.environ.get("PATH", ""))


def _home() -> Path:
    """The PULUMI_HOME that downloads go to, shared by all clones."""
    return paths.cache_home() / "official"


def _plugin_folder(home: Path, name: str, version: str) -> Path:
    return home / "plugins" / f"resource-{name}-v{version}"


def _download(pulumi: Path, name: str, version: str) -> bool:
    """Let the command line download a plugin; give up when nothing has arrived for a while."""
    home, log = _home(), store.log_file(f"plugin-{name}")
    scratch = home / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    started = arrived = time.monotonic()
    size = 0
    with log.open("wb") as output:
        process = subprocess.Popen(
            [pulumi, "plugin", "install", "resource", name, version, "--non-interactive"],
            env=os.environ | _QUIET | {"PULUMI_HOME": str(home), "TMPDIR": str(scratch)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                now, grown = time.monotonic(), store.size(home)
                arrived, size = (now, grown) if grown != size else (arrived, size)
                if now - arrived > _STALLED_SECONDS or now - started > _LONGEST_SECONDS:
                    break
        finally:
            process.kill()
            process.wait()
    shutil.rmtree(scratch, ignore_errors=True)
    complete = (_plugin_folder(home, name, version) / f"pulumi-resource-{name}").is_file()
    return process.returncode == 0 and complete


def _refused_lately(file: Path) -> bool:
    """Whether a download was tried not long ago, on this machine, and did not work."""
    tried = _read(file).get("tried")
    return isinstance(tried, int | float) and 0 <= time.time() - tried < _RETRY_AFTER_SECONDS


def official_plugin(pulumi: Path, name: str, version: str, *, retry: bool | None = None) -> Path | None:
    """Return the folder of Pulumi's own release of a resource plugin in the cache, downloaded if it can be.

    A download that did not work is remembered for a day, so that a machine without access waits once.

    Args:
        pulumi: the command line that downloads it.
        name: the provider, such as `kubernetes`.
        version: its version, without `v`.
        retry: try again although it did not work lately; by default so if RETRY=1 is in the environment.
    """
    folder = _plugin_folder(_home(), name, version)
    refused = _home() / f"refused-{name}-{version}.json"
    again = os.environ.get("RETRY") == "1" if retry is None else retry
    if (folder / f"pulumi-resource-{name}").is_file():
        return folder
    if not again and _refused_lately(refused):
        return None
    with store.lock("official"):
        _say(f"trying to download Pulumi's own {name} plugin {version}")
        if _download(pulumi, name, version):
            refused.unlink(missing_ok=True)
            return folder
        _write(refused, {"tried": time.time()})
        _say(f"Pulumi's own {name} plugin is not to be had here; asked again tomorrow, or now with RETRY=1")
        return None


def _say(line: str) -> None:
    print(f"toolchain: {line}", file=sys.stderr, flush=True)


def _link(source: str, destination: str) -> None:
    """Share the file where the file systems allow it: plugins are large."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)


def install_official_plugin(pulumi: Path, name: str, version: str, home: Path, *, retry: bool | None = None) -> bool:
    """Put Pulumi's own release of a resource plugin into the PULUMI_HOME `home`; whatever stood there is replaced.

    Returns whether it could be had; see `official_plugin` for the arguments and for what is remembered.
    """
    if not pulumi.is_file():
        raise ToolMissing(f"{pulumi} is not there to download plugins with: run `make build`.")
    source = official_plugin(pulumi, name, version, retry=retry)
    if source is None:
        return False
    folder = _plugin_folder(home, name, version)
    program = f"pulumi-resource-{name}"
    same = folder / program
    if same.is_file() and same.stat().st_size == (source / program).stat().st_size:
        return True
    incoming = store.staging(folder.parent)
    shutil.copytree(source, incoming, copy_function=_link, dirs_exist_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    store.publish(incoming, folder)
    return True

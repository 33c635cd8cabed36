"""The Python that the engine runs dynamic resources in, which a program in another language has to name."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from pullsecrets.errors import BadInputError

_NEEDED = "import pulumi.dynamic, pullsecrets.components.kv_metadata"


@cache
def require_dynamic_python() -> None:
    """Refuse to declare dynamic resources that the engine could not run.

    The engine's script `pulumi-resource-pulumi-python` takes the environment that the runtime options of Pulumi.yaml
    name, of which every plugin is told, or else the Python on PATH.

    Raises:
        BadInputError: when that Python is missing or lacks this package.
    """
    python = _chosen()
    if Path(python).parent.resolve() == Path(sys.executable).parent:
        return
    try:
        done = subprocess.run([python, "-c", _NEEDED], capture_output=True, text=True, check=False)
        problem = done.stderr.strip().rpartition("\n")[2] if done.returncode else ""
    except OSError as error:
        problem = str(error)
    if problem:
        raise BadInputError(
            f"runtime.options.virtualenv of Pulumi.yaml: this component holds dynamic resources, which {python} cannot "
            f"run ({problem}); name a Python environment in which pull-secrets[pulumi] is installed"
        )


def _chosen() -> str:
    """Return the Python that the engine starts."""
    by_default = ".venv" if os.environ.get("PULUMI_RUNTIME_TOOLCHAIN") == "uv" else None
    if folder := os.environ.get("PULUMI_RUNTIME_VIRTUALENV") or by_default:
        return str(Path(folder) / "bin" / "python")
    command = os.environ.get("PULUMI_PYTHON_CMD", "python3")
    return shutil.which(command) or command

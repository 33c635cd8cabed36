"""A plugin under the guard runs as under `python -m`; that none outlives its engine is tried with the real one."""

import os
import subprocess
import sys

from local import paths

GUARD = paths.repository() / "local" / "language_host" / "guard.py"


def test_a_module_sees_its_arguments_and_the_working_directory_as_under_python_m(tmp_path):
    (tmp_path / "neighbour.py").write_text("NAME = 'found'\n")
    (tmp_path / "plugin.py").write_text(
        "import sys, neighbour\nassert __name__ == '__main__'\nprint(neighbour.NAME, *sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", GUARD, "module", "plugin", "a", "b"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "found a b\n"

"""Starts one of this repository's plugins: `start.py python_host ARGS...` or `start.py kubernetes ARGS...`.

The shims that local.pulumi_home writes run this file by its path, so that a plugin finds its code from any folder and
no variable for that reaches the programs it starts.
"""

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Puts the repository on the import path and runs the plugin that the first argument names."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    name = sys.argv.pop(1)
    importlib.import_module(f"local.plugins.{name}.__main__").main()


if __name__ == "__main__":
    main()

"""Makes the engine's gRPC messages importable without the rest of the Pulumi SDK, which takes a second to load."""

import importlib.util
import sys
import types
from pathlib import Path


def prepare() -> None:
    """Lets `pulumi.runtime.proto` be imported alone.

    The packages around it are registered with their folder, but their `__init__` does not run. A process that has
    already loaded the SDK keeps it.

    Raises:
        ModuleNotFoundError: the Pulumi SDK is not installed in this Python.
    """
    if "pulumi" in sys.modules:
        return
    found = importlib.util.find_spec("pulumi")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No Pulumi SDK in {sys.prefix}: install the project's dependencies (`make install`)")
    folder = Path(found.origin).parent
    for name, path in (("pulumi", folder), ("pulumi.runtime", folder / "runtime")):
        module = types.ModuleType(name)
        module.__path__ = [str(path)]
        sys.modules[name] = module

"""Starts the Python language host: `start.py --executor SCRIPT [ENGINE ADDRESS]`.

The shim that local.pulumi_home writes runs this file by its path, so that the host finds its code from any folder and
no variable for that reaches the programs it starts.
"""

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path

# Each program, policy pack and plugin that runs holds one request.
_THREADS = 32


def main() -> None:
    """Serves until the engine ends it."""
    # Processes are started without fork handlers of gRPC: they run another program at once.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from local.language_host import protocol  # noqa: PLC0415

    protocol.prepare()
    arguments = _arguments()

    from pulumi.runtime.proto.language_pb2_grpc import add_LanguageRuntimeServicer_to_server  # noqa: PLC0415

    from local.language_host.host import PythonHost  # noqa: PLC0415
    from local.language_host.serving import serve  # noqa: PLC0415

    host = PythonHost(arguments.engine, arguments.executor, version("pulumi"))
    serve(lambda server: add_LanguageRuntimeServicer_to_server(host, server), _THREADS, host.mute, host.close)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", nargs="?", default="", help="address of the engine's gRPC server")
    parser.add_argument("--executor", type=Path, required=True, help="the SDK's script that runs a program")
    # The engine adds logging and tracing flags of its own; this host has no log to steer with them.
    known, _ = parser.parse_known_args()
    return known


if __name__ == "__main__":
    main()

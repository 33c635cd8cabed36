"""Starts the Python language host: `pulumi-language-python [ENGINE ADDRESS]`."""

import argparse
import os
from pathlib import Path

from local.plugins import protocol

# Each program, policy pack and plugin that runs holds one request.
_THREADS = 32


def main() -> None:
    """Serves until the engine ends it."""
    # Processes are started without fork handlers of gRPC: they run another program at once.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    protocol.prepare()
    arguments = _arguments()

    from importlib.metadata import version  # noqa: PLC0415

    from pulumi.runtime.proto.language_pb2_grpc import add_LanguageRuntimeServicer_to_server  # noqa: PLC0415

    from local.plugins.python_host.host import PythonHost  # noqa: PLC0415
    from local.plugins.serving import serve  # noqa: PLC0415

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

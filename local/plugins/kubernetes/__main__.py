"""Starts the stand-in for the Kubernetes plugin: `pulumi-resource-kubernetes [ENGINE ADDRESS]`."""

import argparse
from importlib.metadata import version

from local.plugins import protocol

# More requests than the engine sends at a time by default: most of them wait for the API server.
_THREADS = 64


def main() -> None:
    """Serves until the engine ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", nargs="?", default="", help="address of the engine's gRPC server")
    # The engine adds logging and tracing flags of its own; this plugin has no log to steer with them.
    arguments, _ = parser.parse_known_args()
    protocol.prepare()

    from pulumi.runtime.proto.provider_pb2_grpc import add_ResourceProviderServicer_to_server  # noqa: PLC0415

    from local.plugins.kubernetes.engine import EngineLog  # noqa: PLC0415
    from local.plugins.kubernetes.provider import KubernetesProvider  # noqa: PLC0415
    from local.plugins.serving import serve  # noqa: PLC0415

    provider = KubernetesProvider(version("pulumi-kubernetes"), EngineLog(arguments.engine))
    serve(lambda server: add_ResourceProviderServicer_to_server(provider, server), _THREADS)


if __name__ == "__main__":
    main()

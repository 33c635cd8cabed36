"""Asks a Kubernetes plugin given by the user for its version, before the engine gets it."""

import json
import os
import select
import signal
import subprocess
from pathlib import Path

import grpc

_SECONDS = 20.0
_SCHEMA_BYTES = 64 * 1024 * 1024
# A plugin is told where the engine is, and this one is never asked for anything that needs it.
_NO_ENGINE = "127.0.0.1:1"


class NotAPluginError(Exception):
    """An executable is no plugin for the package that it shall serve; the message says what it did."""


def version_of(program: Path, package: str) -> str:
    """Starts a resource plugin, asks which package it serves in which version, and ends it.

    Args:
        program: the plugin's executable.
        package: what it shall serve, such as `kubernetes`.

    Raises:
        NotAPluginError: it cannot be started, does not speak the engine's protocol, or serves something else.
    """
    if program.is_dir() or not os.access(program, os.X_OK):
        raise NotAPluginError("it is no executable file")
    try:
        process = subprocess.Popen(
            [program, _NO_ENGINE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise NotAPluginError(f"it cannot be started ({error.strerror})") from error
    with process:
        try:
            return _asked(_port(process), package)
        finally:
            # With what it has started, which may outlive it.
            os.killpg(process.pid, signal.SIGKILL)


def _port(process: subprocess.Popen[bytes]) -> int:
    """The port that a plugin prints, alone on its first line."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    ready, _, _ = select.select([process.stdout], [], [], _SECONDS)
    line = os.read(process.stdout.fileno(), 64).decode(errors="replace") if ready else ""
    if not line.strip().isdigit():
        raise NotAPluginError("it prints no port, as a Pulumi plugin does when it starts")
    return int(line)


def _asked(port: int, package: str) -> str:
    # The SDK takes a second to load, which only this question needs.
    from google.protobuf import empty_pb2  # noqa: PLC0415
    from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc  # noqa: PLC0415

    options = [("grpc.max_receive_message_length", _SCHEMA_BYTES)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        provider = provider_pb2_grpc.ResourceProviderStub(channel)
        try:
            version = provider.GetPluginInfo(empty_pb2.Empty(), timeout=_SECONDS).version
            schema = provider.GetSchema(provider_pb2.GetSchemaRequest(version=0), timeout=_SECONDS).schema
        except grpc.RpcError as error:
            raise NotAPluginError("it does not speak the protocol of a Pulumi resource plugin") from error
    served = json.loads(schema or "{}").get("name")
    if served != package:
        raise NotAPluginError(f"it serves the package {served!r}")
    return version

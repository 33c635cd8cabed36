"""A provider that takes any resource as it is: a preview of the bypass program needs an engine and packs, no cluster.

It serves the packages `kubernetes` and `command`, decodes YAML and builds kustomizations for the SDK's components, and
creates nothing.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from local.language_host import protocol

protocol.prepare()

import grpc  # noqa: E402
import yaml  # noqa: E402
from google.protobuf import empty_pb2, json_format  # noqa: E402
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc  # noqa: E402

from local import toolchain  # noqa: E402
from local.language_host.serving import serve  # noqa: E402


class EchoProvider(provider_pb2_grpc.ResourceProviderServicer):
    """Answers each request with what it was given."""

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return plugin_pb2.PluginInfo(version=sys.argv[1])

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return provider_pb2.DiffResponse()

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not request.preview:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this provider previews and creates nothing")
        return provider_pb2.CreateResponse(properties=request.properties)

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        arguments = json_format.MessageToDict(request.args)
        if request.tok == "kubernetes:yaml:decode":
            text = arguments["text"]
        elif request.tok == "kubernetes:kustomize:directory":
            text = _kustomize(arguments["directory"])
        else:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"no function {request.tok}")
            raise AssertionError("abort raises")
        answer = provider_pb2.InvokeResponse()
        getattr(answer, "return").update({"result": [item for item in yaml.safe_load_all(text) if item]})
        return answer

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return empty_pb2.Empty()


def _kustomize(directory: str) -> str:
    kubectl = toolchain.binary("kubectl")
    return subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True, check=True).stdout


serve(lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(EchoProvider(), server), threads=8)

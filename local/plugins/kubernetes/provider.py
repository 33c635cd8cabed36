"""Answers the engine's requests about Kubernetes objects: the ResourceProvider service."""

import threading
from collections.abc import Callable
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from local.plugins.kubernetes import diffing, naming, objects, settings
from local.plugins.kubernetes.api import ApiError, NotServedError, Server, UnreachableError
from local.plugins.kubernetes.diffing import Change, Difference
from local.plugins.kubernetes.engine import EngineLog
from local.plugins.kubernetes.failures import RequestError, reported
from local.plugins.kubernetes.kinds import IDENTITY, Kind, is_patch, kind_of_urn
from local.plugins.kubernetes.kubeconfig import KubeconfigError, access
from local.plugins.kubernetes.operations import ConflictError, ExistsError, Operations
from local.plugins.kubernetes.settings import Settings
from local.plugins.kubernetes.values import (
    Object,
    from_struct,
    has_unknown,
    to_struct,
    without_secrets,
)
from local.plugins.kubernetes.waiting import SKIP_AWAIT, WAIT_FOR, ExpressionError, WaitError

NOTICE = (
    "Kubernetes objects are handled by this repository's local stand-in for the official plugin {version}, which is "
    "not installed here"
)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_REPLACE_UNREADY = "pulumi.com/replaceUnready"
_UNREACHABLE = "configured Kubernetes cluster is unreachable"
_FORGET_HINT = (
    "If the cluster was deleted, you can remove this resource from Pulumi state by rerunning the operation with the "
    'PULUMI_K8S_DELETE_UNREACHABLE environment variable set to "true"'
)
_KINDS = {
    (Change.ADD, False): provider_pb2.PropertyDiff.ADD,
    (Change.ADD, True): provider_pb2.PropertyDiff.ADD_REPLACE,
    (Change.DELETE, False): provider_pb2.PropertyDiff.DELETE,
    (Change.DELETE, True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    (Change.UPDATE, False): provider_pb2.PropertyDiff.UPDATE,
    (Change.UPDATE, True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


class KubernetesProvider(provider_pb2_grpc.ResourceProviderServicer):
    """The resources of package `kubernetes`, one provider resource's worth of them."""

    def __init__(self, version: str, log: EngineLog) -> None:
        """Makes a provider.

        Args:
            version: the version of the official plugin that this stands in for.
            log: where messages for the user go.
        """
        self._version = version
        self._log = log
        self._cancelled = threading.Event()
        self._settings = Settings()
        self._server: Server | None = None
        self._operations: Operations | None = None
        self._unreachable = "the provider is not configured"
        self._namespace = "default"
        # Scopes of the custom kinds whose definitions the program itself declares.
        self._declared: dict[tuple[str, str], bool] = {}

    # The life of the plugin.

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Agrees with the engine on what both understand."""
        if request.engine_address:
            self._log.connect(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, supports_autonaming_configuration=True)

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Learns the address of an engine that attaches to a running plugin."""
        self._log.connect(request.address)
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Tells the version."""
        return plugin_pb2.PluginInfo(version=self._version)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Ends what waits."""
        self._cancelled.set()
        return empty_pb2.Empty()

    def GetMapping(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Has no mapping from other tools."""
        return provider_pb2.GetMappingResponse()

    def GetMappings(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Has no mappings from other tools."""
        return provider_pb2.GetMappingsResponse()

    def GetSchema(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Has no schema: SDKs are generated from the official plugin."""
        _not_served(context, "the package schema")

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Serves no functions."""
        _not_served(context, f"function {request.tok}")

    def Call(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Serves no methods."""
        _not_served(context, f"method {request.tok}")

    def Construct(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Serves no components, such as charts, YAML files and kustomizations."""
        _not_served(context, f"component {request.type}")

    # Configuration.

    @reported
    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Checks the provider's properties."""
        given = without_secrets(from_struct(request.news))
        is_default = request.urn.rpartition("::")[2].startswith("default")
        failures = [
            provider_pb2.CheckFailure(property=key, reason=reason)
            for key, reason in settings.problems(given, is_default=is_default)
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    @reported
    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Tells whether a new configuration means another cluster."""
        old, new = (without_secrets(from_struct(struct)) for struct in (request.olds, request.news))
        change = settings.compare(old, new)
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if change.changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=change.changed,
            replaces=change.replaces,
        )

    @reported
    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Connects to the cluster. One that cannot be reached is no error yet: a preview may not need it."""
        self._log.info(NOTICE.format(version=self._version))
        self._settings = settings.read(request.variables)
        self._namespace = self._settings.namespace or "default"
        try:
            self._connect()
        except KubeconfigError as error:
            self._unreachable = f"unable to load Kubernetes client configuration: {error}"
        except (ApiError, UnreachableError) as error:
            self._unreachable = f"unable to load information from the API server: {error}"
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    def _connect(self) -> None:
        given = self._settings
        found = access(given.configuration(), given.context, given.cluster, given.namespace)
        self._namespace = found.namespace
        server = Server(found, given.rate, given.burst, given.timeout)
        server.version()
        self._server = server
        self._operations = Operations(server, given, self._cancelled)

    # Resources.

    @reported
    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Completes the program's inputs: a name, a namespace, the form in which they are compared."""
        if self._server is None and self._settings.skip_unreachable:
            self._log.warning(
                "Cluster is unreachable but skipUpdateUnreachable flag is set to true, skipping...", request.urn
            )
            return provider_pb2.CheckResponse(inputs=request.olds)
        kind = kind_of_urn(request.urn)
        if kind.is_built_in and kind.name.endswith("List"):
            raise RequestError("list resources cannot be created directly. Use the underlying resource type instead")
        given = from_struct(request.news)
        inputs = objects.normalized(objects.dashed(without_secrets(given)))
        patches = is_patch(request.urn, objects.kind_of(inputs).name)
        if patches and not naming.is_named(inputs):
            raise RequestError("patch resources require the `.metadata.name` field to be set")
        self._warn_of_internal_annotations(given, request.urn)
        self._name(inputs, request)
        if not naming.is_named(inputs):
            raise RequestError("the `.metadata.generateName` field is not supported in Server-Side Apply mode")
        if not objects.metadata(inputs).get("namespace") and self._is_namespaced(kind, patches=patches):
            objects.set_metadata(inputs, "namespace", self._namespace)
        if kind.is_definition and not has_unknown(inputs):
            spec = inputs.get("spec") or {}
            custom = (str(spec.get("group")), str((spec.get("names") or {}).get("kind")))
            self._declared[custom] = spec.get("scope") == "Namespaced"
        checked = objects.with_secrets(inputs, given)
        return provider_pb2.CheckResponse(inputs=request.news if checked == given else to_struct(checked))

    def _name(self, inputs: Object, request: Any) -> None:
        if request.olds.fields:
            naming.keep_generated(inputs, without_secrets(from_struct(request.olds)))
            return
        options = provider_pb2.CheckRequest.AutonamingOptions
        has_options = request.HasField("autonaming")
        naming.generate(
            inputs,
            request.urn.rpartition("::")[2],
            request.randomSeed,
            proposed=request.autonaming.proposed_name if has_options else "",
            disabled=has_options and request.autonaming.mode == options.DISABLE,
        )

    @reported
    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Compares the object as it was last seen with the new inputs; asks the server nothing."""
        old = _stored(request.olds)
        old_inputs = objects.normalized(old.inputs)
        new = objects.normalized(objects.dashed(without_secrets(from_struct(request.news))))
        kind = objects.kind_of(new)
        patches = is_patch(request.urn, kind.name)
        base = objects.pruned(old.live, old_inputs)
        self._settle_namespaces(kind, base, new, patches=patches)
        if kind.group or kind.name:
            base.setdefault("apiVersion", new.get("apiVersion"))
            base.setdefault("kind", new.get("kind"))
        if naming.is_named(new):
            objects.set_metadata(base, "name", objects.name(old.live))
        forced = IDENTITY if patches else self._replaced_on_change(kind, new)
        found = diffing.without_ignored(diffing.differences(base, new, forced), request.ignoreChanges)
        self._warn_of_unready(new, request.urn)
        return _diff_response(found, delete_first=self._is_deleted_first(new, old.live, found))

    @reported
    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Creates an object and waits until it is ready; in a preview the server tries it without doing it."""
        given = from_struct(request.properties)
        inputs = objects.dashed(without_secrets(given))
        kind = objects.kind_of(inputs)
        unchanged = provider_pb2.CreateResponse(properties=request.properties)
        if request.preview and (is_patch(request.urn, kind.name) or has_unknown(inputs) or not self._is_served(kind)):
            return unchanged
        manager = self._field_manager({}, inputs)

        def stored(live: Object) -> Object:
            return objects.state_of(inputs, live, given, inputs["apiVersion"], manager)

        live = self._created(request, inputs, manager)
        if live is None:
            return unchanged
        if request.preview:
            # What a controller will put there is not known, so it must not look as if it were empty.
            live.pop("status", None)
            return provider_pb2.CreateResponse(properties=to_struct(stored(live)))
        try:
            live = self._await(
                request,
                inputs,
                live,
                stored,
                f'resource "{request.urn}" was successfully created, but the Kubernetes API server reported that it '
                "failed to fully initialize or become live",
            )
        except ExpressionError as error:
            raise RequestError(f"{_not_created(request.urn)}: {error}") from None
        if kind.is_definition and self._server is not None:
            self._server.forget()
        return provider_pb2.CreateResponse(id=objects.identifier(live), properties=to_struct(stored(live)))

    def _created(self, request: Any, inputs: Object, manager: str) -> Object | None:
        """The object as the server made it; None when a preview cannot tell."""
        try:
            return self._reachable().create(request.urn, inputs, manager, preview=request.preview)
        except NotServedError as error:
            kind = objects.kind_of(inputs)
            raise RequestError(
                f'creation of resource "{request.urn}" with kind {kind.api_version}/{kind.name} failed because the '
                "Kubernetes API server reported that the apiVersion for this resource does not exist. "
                f"Verify that any required CRDs have been created: {error}"
            ) from None
        except (ApiError, ExistsError, ConflictError) as error:
            if request.preview and _hides_preview(error):
                return None
            raise RequestError(f"{_not_created(request.urn)}: {error}") from None

    @reported
    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Reads an object for a refresh, an import or a lookup; one that is gone has no id."""
        if self._operations is None:
            return self._read_unreachable(request)
        namespace, name = objects.name_in(request.id)
        if not name:
            raise RequestError(
                f"failed to read resource because of a failure to parse resource name from request ID: {request.id}"
            )
        like = from_struct(request.inputs)
        old = _stored(request.properties)
        inputs = objects.normalized(objects.dashed(without_secrets(like)))
        is_new = not inputs.get("kind") and not old.live.get("kind")
        _identify(inputs, old.live, kind_of_urn(request.urn), namespace, name)
        state = without_secrets(from_struct(request.properties))
        initial = str(state.get(objects.INITIAL_API_VERSION) or inputs["apiVersion"])
        manager = self._field_manager(state, inputs)
        try:
            live = self._operations.read(inputs, name)
        except NotServedError:
            return provider_pb2.ReadResponse()
        except ApiError as error:
            if error.is_not_found:
                return provider_pb2.ReadResponse()
            raise
        seen = _imported(live, inputs) if is_new else objects.pruned(live, inputs)
        return provider_pb2.ReadResponse(
            id=request.id or objects.identifier(live),
            properties=to_struct(objects.state_of(seen, live, like, initial, manager)),
            inputs=to_struct(objects.with_secrets(seen, like)),
        )

    @reported
    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Changes an object by server-side apply and waits until it is ready; in a preview the server only tries."""
        given = from_struct(request.news)
        inputs = objects.normalized(objects.dashed(without_secrets(given)))
        kind = objects.kind_of(inputs)
        unchanged = provider_pb2.UpdateResponse(properties=request.news)
        if request.preview and (has_unknown(inputs) or not self._is_served(kind)):
            return unchanged
        state = without_secrets(from_struct(request.olds))
        old = objects.checkpoint(state)
        initial = str(state.get(objects.INITIAL_API_VERSION) or inputs["apiVersion"])
        manager, old_manager = self._field_manager(state, inputs), self._field_manager(state, old.inputs)

        def stored(live: Object) -> Object:
            return objects.state_of(inputs, live, given, initial, manager)

        failed = (
            f'the Kubernetes API server reported that "{objects.identifier(old.live)}" failed to fully initialize or '
            "become live"
        )
        try:
            live = self._updated(request, inputs, old.live, manager)
        except (ApiError, ConflictError) as error:
            raise self._after_failed_update(request.urn, old.live, error, failed, stored) from None
        if live is None:
            return unchanged
        if request.preview:
            return provider_pb2.UpdateResponse(properties=to_struct(stored(live)))
        live = self._await(request, inputs, live, stored, failed)
        if manager != old_manager:
            self._reachable().relinquish(live, old_manager)
        return provider_pb2.UpdateResponse(properties=to_struct(stored(live)))

    def _updated(self, request: Any, inputs: Object, old: Object, manager: str) -> Object | None:
        """The object as the server changed it; None when a preview cannot tell."""
        try:
            return self._reachable().update(
                request.urn, inputs, old, manager, request.ignoreChanges, preview=request.preview
            )
        except NotServedError as error:
            raise RequestError(
                f'update of resource "{request.urn}" failed because the Kubernetes API server reported that the '
                f"apiVersion for this resource does not exist. Verify that any required CRDs have been created: {error}"
            ) from None
        except ApiError as error:
            if request.preview and error.is_forbidden:
                return None
            raise

    @reported
    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        """Deletes an object and waits until it is gone; a patch gives its fields up instead."""
        if self._operations is None:
            self._log.warning(f"{_UNREACHABLE}: {self._unreachable}", request.urn)
            if not self._settings.delete_unreachable:
                raise RequestError(f"{_UNREACHABLE}. {_FORGET_HINT}")
            return empty_pb2.Empty()
        given = from_struct(request.properties)
        state = without_secrets(given)
        old = objects.checkpoint(state)
        try:
            if is_patch(request.urn, objects.kind_of(old.inputs).name):
                self._operations.relinquish(old.live, self._field_manager(state, old.inputs))
            else:
                _, name = objects.name_in(request.id)
                self._operations.delete(old.inputs, old.live, name, request.timeout)
        except NotServedError:
            return empty_pb2.Empty()
        except ApiError as error:
            raise _undeletable_patch(error) from None
        except WaitError as error:
            finalizers = ", ".join(objects.metadata(error.last).get("finalizers") or [])
            self._log.warning(f"finalizers might be preventing deletion ({finalizers})", request.urn)
            last = objects.with_secrets(objects.underscored(error.last), given)
            raise RequestError(str(error), objects.identifier(error.last), given | last) from None
        return empty_pb2.Empty()

    # What the requests share.

    def _reachable(self) -> Operations:
        if self._operations is None:
            raise RequestError(f"{_UNREACHABLE}: {self._unreachable}")
        return self._operations

    def _read_unreachable(self, request: Any) -> Any:
        self._log.warning(f"{_UNREACHABLE}: {self._unreachable}", request.urn)
        if self._settings.delete_unreachable:
            return provider_pb2.ReadResponse()
        if self._settings.skip_unreachable:
            return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)
        raise RequestError(f"failed to read resource state due to unreachable cluster. {_FORGET_HINT}")

    def _is_namespaced(self, kind: Kind, *, patches: bool) -> bool:
        """The scope of a kind; one that is not known yet is taken as namespaced until it is created."""
        if patches:
            kind = kind._replace(name=kind.name.removesuffix("Patch"))
        known = kind.namespaced
        if known is None:
            known = self._declared.get((kind.group, kind.name))
        if known is None and self._server is not None:
            try:
                return self._server.resource(kind).namespaced
            except NotServedError:
                return True
        return known is not False

    def _is_served(self, kind: Kind) -> bool:
        if self._server is None:
            return False
        try:
            self._server.resource(kind, refresh=True)
        except NotServedError:
            return False
        return True

    def _settle_namespaces(self, kind: Kind, base: Object, new: Object, *, patches: bool) -> None:
        namespaced = self._is_namespaced(kind, patches=patches and kind.name.endswith("Patch"))
        for obj in (base, new):
            if not isinstance(obj.get("metadata"), dict):
                continue
            if namespaced and not obj["metadata"].get("namespace"):
                obj["metadata"]["namespace"] = "default"
            elif not namespaced:
                obj["metadata"].pop("namespace", None)

    def _replaced_on_change(self, kind: Kind, inputs: Object) -> tuple[str, ...]:
        mutable = inputs.get("immutable") is not True
        return kind.replaced_on_change(
            mutable_secrets=self._settings.mutable_secrets and mutable,
            mutable_config_maps=self._settings.mutable_config_maps and mutable,
        )

    @staticmethod
    def _is_deleted_first(new: Object, live: Object, found: list[Difference]) -> bool:
        """Whether the old object must go before its replacement comes: they have one name that the program chose."""
        return (
            any(map(_replaces, found))
            and bool(objects.name(new))
            and not naming.is_autonamed(new)
            and objects.identifier(new) == objects.identifier(live)
        )

    def _field_manager(self, state: Object, inputs: Object) -> str:
        chosen = objects.annotation(inputs, "pulumi.com/patchFieldManager")
        return chosen or state.get(objects.FIELD_MANAGER) or naming.field_manager()

    def _await(
        self, request: Any, inputs: Object, live: Object, stored: Callable[[Object], Object], failed: str
    ) -> Object:
        kind = objects.kind_of(live)
        asks = objects.annotation(inputs, SKIP_AWAIT) == "true" or objects.annotation(live, WAIT_FOR)
        if kind.is_awaited and not asks:
            self._log.warning_once(
                f"the local stand-in for the Kubernetes plugin does not wait for a {kind.name} to become ready; the "
                "official plugin does"
            )
        try:
            return self._reachable().until_ready(inputs, live, request.timeout)
        except WaitError as error:
            raise RequestError(f"{failed}: {error}", objects.identifier(error.last), stored(error.last)) from None

    def _after_failed_update(
        self, urn: str, old: Object, error: Exception, failed: str, stored: Callable[[Object], Object]
    ) -> RequestError:
        """The object is as it was, and its state says so; one that is gone has none."""
        try:
            live = self._reachable().read(old, objects.name(old))
        except (ApiError, NotServedError, UnreachableError) as gone:
            return RequestError(f'update of resource "{urn}" failed: {error}\nunable to get cluster state: {gone}')
        return RequestError(f"{failed}: {error}", objects.identifier(live), stored(live))

    def _warn_of_internal_annotations(self, given: Object, urn: str) -> None:
        if objects.annotation(given, naming.AUTONAMED):
            self._log.warning(f'ignoring user-specified value for internal annotation "{naming.AUTONAMED}"', urn)

    def _warn_of_unready(self, inputs: Object, urn: str) -> None:
        if objects.annotation(inputs, _REPLACE_UNREADY) == "true":
            self._log.warning("replaceUnready annotation is not supported for this resource", urn)


def _stored(struct: struct_pb2.Struct) -> objects.Checkpoint:
    return objects.checkpoint(without_secrets(from_struct(struct)))


def _identify(inputs: Object, live: Object, kind: Kind, namespace: str, name: str) -> None:
    """Completes inputs that do not say what they are, as in an import, from the last state or the resource itself."""
    if not inputs.get("kind"):
        inputs["apiVersion"] = live.get("apiVersion") or kind.api_version
        inputs["kind"] = live.get("kind") or kind.name
        if not objects.name(inputs):
            objects.set_metadata(inputs, "name", name)
        if namespace and not objects.namespace(inputs):
            objects.set_metadata(inputs, "namespace", namespace)


def _imported(live: Object, inputs: Object) -> Object:
    """The inputs of an object that the program did not create; of a custom kind nothing but its identity is known."""
    if not objects.kind_of(live).is_built_in:
        return objects.pruned(live, inputs)
    found = objects.normalized({key: value for key, value in live.items() if key != "status"})
    annotations = objects.metadata(found).get("annotations")
    if isinstance(annotations, dict):
        objects.set_metadata(found, "annotations", {k: v for k, v in annotations.items() if k != _LAST_APPLIED})
    return found


def _not_created(urn: str) -> str:
    return f'resource "{urn}" was not successfully created by the Kubernetes API server'


def _hides_preview(error: Exception) -> bool:
    """Whether a preview shows the inputs instead of failing: what the server says does not hold for the real run."""
    if isinstance(error, ApiError):
        return error.is_forbidden or error.is_namespace_missing or error.refuses_dry_run
    return isinstance(error, ExistsError)


def _undeletable_patch(error: ApiError) -> RequestError:
    if error.is_invalid and "Required value" in str(error):
        return RequestError(
            "this Patch resource is currently managing a required field, so it can't be deleted directly. Either set "
            "the `retainOnDelete` resource option, or transfer ownership of the field before deleting: "
            f"{error}"
        )
    return RequestError(str(error))


def _replaces(difference: Difference) -> bool:
    return difference.replaces or (difference.change is Change.DELETE and difference.path == ("metadata",))


def _diff_response(found: list[Difference], *, delete_first: bool) -> Any:
    response = provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE,
        replaces=[difference.property_path for difference in found if _replaces(difference)],
        deleteBeforeReplace=delete_first,
        hasDetailedDiff=True,
    )
    for difference in found:
        detail = response.detailedDiff[difference.property_path]
        detail.kind = _KINDS[difference.change, difference.replaces]
        detail.inputDiff = difference.change is Change.DELETE
    return response


def _not_served(context: grpc.ServicerContext, what: str) -> NoReturn:
    context.abort(
        grpc.StatusCode.UNIMPLEMENTED,
        f"{what} is not served by the local stand-in for the Kubernetes plugin: declare single objects, or install the "
        "official plugin",
    )
    raise AssertionError("abort raises")

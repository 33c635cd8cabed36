"""Creates, updates, reads and deletes objects the way the official plugin does."""

import copy
import functools
import json
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from local.plugins.kubernetes import naming, objects, ownership
from local.plugins.kubernetes.api import ApiError, NotServedError, Server
from local.plugins.kubernetes.kinds import is_patch
from local.plugins.kubernetes.settings import Settings
from local.plugins.kubernetes.values import Object
from local.plugins.kubernetes.waiting import SKIP_AWAIT, Waiter, timeout_of

PATCH_FORCE = "pulumi.com/patchForce"
_PROPAGATION = "pulumi.com/deletionPropagationPolicy"
_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_ALL = "All"
# What is not there yet may come: a namespace, or the definition of a custom kind.
_RETRY_AFTER_SECONDS = (1, 2, 4, 8, 16)
_Answer = TypeVar("_Answer")


class ExistsError(Exception):
    """The object is there already and is not to be taken over."""

    def __init__(self, message: str) -> None:
        """Adds to the server's message what can be done."""
        super().__init__(
            f"{message}\n\n"
            "The resource already exists in the cluster. To let the program\n"
            "  - rename a resource: give it an alias, or deleteBeforeReplace if it is replaced\n"
            "  - manage some fields of an object that others own: use a Patch resource, as NamespacePatch\n"
            "  - own the object from now on: run `pulumi import`\n"
            "  - take over whatever exists: set upsertExistingObjects on the provider"
        )


class ConflictError(Exception):
    """Another manager holds a field that the program sets."""

    def __init__(self, manager: str, message: str) -> None:
        """Names our own manager; the server's message names the other one and the field."""
        super().__init__(
            "server-side apply field conflict detected\n"
            f'The resource managed by field manager "{manager}" had an apply conflict: {message}'
        )


class Operations:
    """What can be done with objects of one server."""

    def __init__(self, server: Server, settings: Settings, cancelled: threading.Event) -> None:
        """Works on one server until `cancelled` is set."""
        self._server = server
        self._settings = settings
        self._cancelled = cancelled
        self._waiter = Waiter(server, cancelled)

    def create(self, urn: str, inputs: Object, manager: str, *, preview: bool) -> Object:
        """Creates an object, or tries to when `preview`, and returns it as the server has it.

        Patch resources, and all when the provider upserts, go by server-side apply, others by a plain create.

        Raises:
            ExistsError: it exists.
            ConflictError: another manager holds a field.
            ApiError: the server refuses.
            NotServedError: the server does not know the kind.
        """
        applies = self._settings.upsert or is_patch(urn, objects.kind_of(inputs).name)
        once = self._apply_new if applies else self._post
        return self._patiently(functools.partial(once, inputs, manager, preview=preview), preview=preview)

    def _post(self, inputs: Object, _manager: str, *, preview: bool) -> Object:
        path = self._server.path(objects.kind_of(inputs), objects.namespace(inputs), refresh=True)
        try:
            return self._server.send(
                "POST", path, inputs, fieldManager=ownership.CREATOR, dryRun=_ALL if preview else None
            )
        except ApiError as error:
            if error.already_exists:
                raise ExistsError(str(error)) from None
            raise

    def _apply_new(self, inputs: Object, manager: str, *, preview: bool) -> Object:
        force = preview or self._forces(inputs)
        try:
            return self._apply(inputs, manager, force=force, preview=preview, validation="Warn")
        except ApiError as error:
            if not (preview and error.is_invalid and "field is immutable" in str(error)):
                raise
        # A replacement changes what cannot change in place: it is tried under another name.
        renamed = copy.deepcopy(inputs)
        objects.set_metadata(renamed, "name", naming.unique(objects.name(inputs)))
        return self._apply(renamed, manager, force=force, preview=True, validation="Warn")

    def update(
        self, urn: str, inputs: Object, old: Object, manager: str, ignored: Iterable[str], *, preview: bool
    ) -> Object:
        """Changes an object, or tries to when `preview`, and returns it as the server has it.

        Args:
            urn: the resource.
            inputs: what the program wants.
            old: the live object as it was last seen.
            manager: the name under which the server knows this resource's fields.
            ignored: properties that `ignoreChanges` leaves as they are.
            preview: whether nothing is to be changed.

        Raises:
            ConflictError: another manager holds a field.
            ApiError: the server refuses, or the object is gone.
            NotServedError: the server does not know the kind.
        """
        kind = objects.kind_of(inputs)
        path = self._server.path(kind, objects.namespace(inputs), objects.name(old), refresh=True)
        live = self._server.get(path)
        if kind.is_definition:
            replacement = copy.deepcopy(inputs)
            objects.set_metadata(replacement, "resourceVersion", objects.metadata(live).get("resourceVersion"))
            return self._server.send("PUT", path, replacement, fieldManager=manager, dryRun=_ALL if preview else None)
        if not preview and not is_patch(urn, kind.name):
            live = self._take_over(path, live, manager)
        wanted = ownership.keep_ignored(inputs, live, ignored, manager)
        force = (
            self._forces(inputs)
            or not ownership.managed_fields(live)
            or (preview and ownership.created_by_plugin(live))
        )
        return self._apply(wanted, manager, force=force, preview=preview)

    def _take_over(self, path: str, live: Object, manager: str) -> Object:
        record = ownership.taken_over(live, manager)
        if record is None:
            return live
        change = {"op": "replace", "path": "/metadata/managedFields", "value": record}
        return self._server.send("PATCH", path, [change], _JSON_PATCH)

    def relinquish(self, obj: Object, manager: str) -> None:
        """Gives up all fields that `manager` holds: they go unless another manager holds them too.

        Raises:
            ApiError: the server refuses, for example because the object needs one of the fields.
            NotServedError: the server does not know the kind.
        """
        bare: Object = {
            "apiVersion": obj.get("apiVersion"),
            "kind": obj.get("kind"),
            "metadata": {"name": objects.name(obj)},
        }
        if objects.namespace(obj):
            bare["metadata"]["namespace"] = objects.namespace(obj)
        self._apply(bare, manager, force=None, preview=False)

    def read(self, obj: Object, name: str) -> Object:
        """Reads the object; errors as the server's."""
        kind = objects.kind_of(obj)
        return self._server.get(self._server.path(kind, objects.namespace(obj), name, refresh=True))

    def delete(self, inputs: Object, live: Object, name: str, seconds: float) -> None:
        """Deletes an object and waits until it is gone; one that is not there is well.

        Args:
            inputs: with the annotations that say how.
            live: the object as it was last seen.
            name: its name.
            seconds: the resource's own time limit, 0 for none.

        Raises:
            WaitError: it was not gone in time.
            ApiError: the server refuses.
            NotServedError: the server does not know the kind.
        """
        kind = objects.kind_of(live)
        path = self._server.path(kind, objects.namespace(live), name, refresh=True)
        policy = {"orphan": "Orphan", "background": "Background"}.get(
            objects.annotation(inputs, _PROPAGATION).lower(), "Foreground"
        )
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        try:
            self._server.send("DELETE", path, options)
        except ApiError as error:
            if error.is_not_found:
                return
            raise
        if objects.annotation(inputs, SKIP_AWAIT) == "true" and kind.skips_deletion:
            return
        self._waiter.until_gone(kind, live, timeout_of(seconds, inputs))

    def until_ready(self, inputs: Object, live: Object, seconds: float) -> Object:
        """Waits until a created or updated object is ready; errors as `Waiter.until_ready`."""
        return self._waiter.until_ready(objects.kind_of(live), inputs, live, timeout_of(seconds, inputs))

    def _forces(self, inputs: Object) -> bool:
        return self._settings.patch_force or objects.annotation(inputs, PATCH_FORCE) == "true"

    def _apply(
        self, inputs: Object, manager: str, *, force: bool | None, preview: bool, validation: str | None = None
    ) -> Object:
        path = self._server.path(objects.kind_of(inputs), objects.namespace(inputs), objects.name(inputs), refresh=True)
        try:
            return self._server.send(
                "PATCH",
                path,
                inputs,
                _APPLY,
                fieldManager=manager,
                force=None if force is None else json.dumps(force),
                fieldValidation=validation,
                dryRun=_ALL if preview else None,
            )
        except ApiError as error:
            if error.is_conflict:
                raise ConflictError(manager, str(error)) from None
            raise

    def _patiently(self, attempt: Callable[[], _Answer], *, preview: bool) -> _Answer:
        """Tries again while something that the object needs is not there yet."""
        for pause in _RETRY_AFTER_SECONDS:
            try:
                return attempt()
            except ApiError as error:
                # A preview cannot create the namespace that is missing.
                if not error.is_not_found or (preview and error.is_namespace_missing):
                    raise
            except NotServedError:
                pass
            if self._cancelled.wait(pause):
                break
        return attempt()

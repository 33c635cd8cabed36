"""How the stand-in answers the engine, over an API server in memory."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.controlplane.waiting import NotYet, until
from local.plugins import protocol

protocol.prepare()

from pulumi.runtime.proto import provider_pb2, status_pb2  # noqa: E402

from local.plugins.kubernetes.engine import EngineLog  # noqa: E402
from local.plugins.kubernetes.provider import KubernetesProvider  # noqa: E402
from local.plugins.kubernetes.values import UNKNOWN, Secret, from_struct, to_struct  # noqa: E402
from tests.unit.local.fake_api_server import FakeApiServer  # noqa: E402

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tenant", "labels": {"a": "1"}}}
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "apps"}}
WIDGET = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}
SIZES = provider_pb2.DiffResponse


def urn(kind, name="x"):
    return f"urn:pulumi:dev::project::kubernetes:{kind}::{name}"


class RefusedError(Exception):
    """What `abort` raises, as in a real request."""


class _Context:
    def __init__(self):
        self.metadata = ()

    def abort(self, code, details):
        raise RefusedError(code, details, self.metadata)

    def set_trailing_metadata(self, metadata):
        self.metadata = metadata


def Context() -> Any:  # noqa: N802
    """The part of a request's context that the provider uses."""
    return _Context()


class Log(EngineLog):
    def __init__(self):
        super().__init__("")
        self.messages = []

    def info(self, message, urn=""):
        assert not urn
        self.messages.append(message)

    def warning(self, message, urn=""):
        assert urn
        self.messages.append(message)


@pytest.fixture
def api():
    server = FakeApiServer()
    yield server
    server.close()


@pytest.fixture
def provider(api):
    return configured(api)


def configured(api, **arguments):
    provider = KubernetesProvider("4.34.2", Log())
    variables = {
        f"kubernetes:config:{key}": value for key, value in {"kubeconfig": api.kubeconfig, **arguments}.items()
    }
    provider.Configure(provider_pb2.ConfigureRequest(variables=variables), Context())
    return provider


def check(provider, kind, news, **more):
    request = provider_pb2.CheckRequest(urn=urn(kind), news=to_struct(news), **more)
    return from_struct(provider.Check(request, Context()).inputs)


def create(provider, kind, inputs, **more):
    request = provider_pb2.CreateRequest(urn=urn(kind), properties=to_struct(inputs), **more)
    return provider.Create(request, Context())


def update(provider, kind, state, inputs, **more):
    request = provider_pb2.UpdateRequest(urn=urn(kind), olds=state, news=to_struct(inputs), **more)
    return provider.Update(request, Context())


def diff(provider, kind, state, inputs, **more):
    return provider.Diff(provider_pb2.DiffRequest(urn=urn(kind), olds=state, news=to_struct(inputs), **more), Context())


def delete(provider, kind, identifier, state, **more):
    request = provider_pb2.DeleteRequest(urn=urn(kind), id=identifier, properties=state, **more)
    return provider.Delete(request, Context())


def refused(call, *arguments, **more):
    with pytest.raises(RefusedError) as caught:
        call(*arguments, **more)
    return caught.value.args[1]


class TestStart:
    def test_it_says_once_that_it_is_a_stand_in(self, provider):
        assert [m for m in provider._log.messages if "stand-in for the official plugin 4.34.2" in m] != []
        assert len(provider._log.messages) == 1

    def test_a_cluster_that_cannot_be_reached_fails_a_create_but_not_its_preview(self, api):
        api.close()
        provider = configured(api)
        assert from_struct(create(provider, "core/v1:Namespace", NAMESPACE, preview=True).properties) == NAMESPACE
        message = refused(create, provider, "core/v1:Namespace", NAMESPACE)
        assert message.startswith("configured Kubernetes cluster is unreachable: ")
        assert "did not answer" in message

    @pytest.mark.parametrize("method", ["Invoke", "Call", "Construct"])
    def test_functions_charts_and_yaml_components_are_refused_by_name(self, provider, method):
        request = {
            "Invoke": provider_pb2.InvokeRequest(tok="kubernetes:yaml:decode"),
            "Call": provider_pb2.CallRequest(tok="a"),
            "Construct": provider_pb2.ConstructRequest(type="kubernetes:yaml/v2:ConfigGroup"),
        }[method]
        message = refused(getattr(provider, method), request, Context())
        assert "not served by the local stand-in" in message


class TestCheck:
    def test_inputs_that_are_complete_come_back_as_they_are(self, provider):
        assert check(provider, "core/v1:Namespace", NAMESPACE) == NAMESPACE

    def test_an_object_without_namespace_goes_where_the_provider_says(self, api):
        bare = {**CONFIG_MAP, "metadata": {"name": "settings"}}
        assert check(configured(api), "core/v1:ConfigMap", bare)["metadata"]["namespace"] == "default"
        assert check(configured(api, namespace="apps"), "core/v1:ConfigMap", bare) == CONFIG_MAP

    def test_a_custom_kind_that_is_not_served_yet_counts_as_namespaced(self, provider):
        assert check(provider, "example.com/v1:Widget", WIDGET)["metadata"]["namespace"] == "default"

    def test_unless_the_program_declares_it_otherwise(self, provider):
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {"group": "example.com", "scope": "Cluster", "names": {"kind": "Widget"}},
        }
        check(provider, "apiextensions.k8s.io/v1:CustomResourceDefinition", definition)
        assert check(provider, "example.com/v1:Widget", WIDGET) == WIDGET

    def test_a_name_is_generated_kept_and_marked(self, provider):
        bare = {**NAMESPACE, "metadata": {}}
        first = check(provider, "core/v1:Namespace", bare, randomSeed=b"seed")
        assert first["metadata"]["name"].startswith("x-")
        assert first["metadata"]["annotations"] == {"pulumi.com/autonamed": "true"}
        assert check(provider, "core/v1:Namespace", bare, olds=to_struct(first)) == first

    def test_a_patch_needs_a_name(self, provider):
        message = refused(check, provider, "core/v1:NamespacePatch", {**NAMESPACE, "metadata": {}})
        assert message == "patch resources require the `.metadata.name` field to be set"

    def test_the_content_of_a_secret_becomes_secret(self, provider):
        given = {"apiVersion": "v1", "kind": "Secret", "metadata": CONFIG_MAP["metadata"], "stringData": {"a": "b"}}
        assert check(provider, "core/v1:Secret", given)["data"] == Secret({"a": base64.b64encode(b"b").decode()})


class TestDiff:
    def state(self, provider, inputs=NAMESPACE, kind="core/v1:Namespace"):
        return create(provider, kind, inputs).properties

    def test_nothing_changed_asks_the_server_nothing(self, api, provider):
        state = self.state(provider)
        api.requests.clear()
        response = diff(provider, "core/v1:Namespace", state, check(provider, "core/v1:Namespace", NAMESPACE))
        assert response.changes == SIZES.DIFF_NONE
        assert api.requests == []

    def test_a_label_changes_in_place(self, provider):
        changed = {**NAMESPACE, "metadata": {"name": "tenant", "labels": {"a": "2"}}}
        response = diff(provider, "core/v1:Namespace", self.state(provider), changed)
        assert response.changes == SIZES.DIFF_SOME
        assert list(response.replaces) == []
        assert response.detailedDiff["metadata.labels.a"].kind == provider_pb2.PropertyDiff.UPDATE

    def test_a_name_replaces_and_the_new_object_comes_first(self, provider):
        renamed = {**NAMESPACE, "metadata": {"name": "other", "labels": {"a": "1"}}}
        response = diff(provider, "core/v1:Namespace", self.state(provider), renamed)
        assert list(response.replaces) == ["metadata.name"]
        assert not response.deleteBeforeReplace

    def test_what_cannot_change_in_place_replaces_and_the_old_object_goes_first(self, provider):
        old = {**CONFIG_MAP, "data": {"a": "1"}}
        response = diff(
            provider, "core/v1:ConfigMap", self.state(provider, old, "core/v1:ConfigMap"), {**old, "data": {"a": "2"}}
        )
        assert list(response.replaces) == ["data.a"]
        assert response.deleteBeforeReplace

    def test_a_patch_changes_in_place_whatever_it_patches(self, provider):
        old = {**CONFIG_MAP, "data": {"a": "1"}}
        state = self.state(provider, old, "core/v1:ConfigMapPatch")
        response = diff(provider, "core/v1:ConfigMapPatch", state, {**old, "data": {"a": "2"}})
        assert list(response.replaces) == []

    def test_ignored_changes_are_none(self, provider):
        changed = {**NAMESPACE, "metadata": {"name": "tenant", "labels": {"a": "2"}}}
        response = diff(
            provider, "core/v1:Namespace", self.state(provider), changed, ignoreChanges=["metadata.labels.a"]
        )
        assert response.changes == SIZES.DIFF_NONE


class TestCreate:
    def test_it_posts_under_the_creators_name_and_stores_what_the_server_made_of_it(self, api, provider):
        response = create(provider, "core/v1:Namespace", NAMESPACE)
        request = api.of_objects()[-1]
        assert (request.method, request.path) == ("POST", "/api/v1/namespaces")
        assert request.query == {"fieldManager": "pulumi-kubernetes"}
        assert response.id == "tenant"
        state = from_struct(response.properties)
        assert state["metadata"]["uid"] == "some-uid"
        assert state["__inputs"] == NAMESPACE
        assert state["__fieldManager"].startswith("pulumi-kubernetes-")

    def test_a_preview_changes_nothing_on_the_server(self, api, provider):
        response = create(provider, "core/v1:Namespace", NAMESPACE, preview=True)
        assert api.of_objects()[-1].query["dryRun"] == "All"
        assert api.objects == {}
        assert response.id == ""

    def test_a_preview_with_unknown_inputs_asks_the_server_nothing(self, api, provider):
        unknown = {**NAMESPACE, "metadata": {"name": "tenant", "labels": {"a": UNKNOWN}}}
        create(provider, "core/v1:Namespace", unknown, preview=True)
        assert api.of_objects() == []

    def test_a_preview_of_a_kind_that_is_not_served_yet_shows_the_inputs(self, provider):
        response = create(provider, "example.com/v1:Widget", WIDGET, preview=True)
        assert from_struct(response.properties) == WIDGET

    def test_a_kind_appears_while_the_create_tries(self, api, provider):
        def serve_later(request):
            if request.path == "/apis/example.com/v1":
                api.groups[request.path] = [{"name": "widgets", "kind": "Widget", "namespaced": False}]
                return {"code": 404, "message": "not found"} if len(api.requests) < 3 else None
            return None

        api.refusals.append(serve_later)
        assert create(provider, "example.com/v1:Widget", WIDGET).id == "w"

    def test_an_object_that_exists_is_refused_with_what_can_be_done(self, provider):
        create(provider, "core/v1:Namespace", NAMESPACE)
        message = refused(create, provider, "core/v1:Namespace", NAMESPACE)
        assert "was not successfully created by the Kubernetes API server" in message
        assert "already exists" in message
        assert "upsertExistingObjects" in message
        assert create(provider, "core/v1:Namespace", NAMESPACE, preview=True).id == ""

    def test_an_upserting_provider_applies_instead(self, api):
        provider = configured(api, upsertExistingObjects="true")
        create(provider, "core/v1:Namespace", NAMESPACE)
        create(provider, "core/v1:Namespace", NAMESPACE)
        request = api.of_objects()[-1]
        assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/tenant")
        assert request.query["force"] == "false"

    def test_a_patch_applies_and_takes_fields_by_force_only_when_told(self, api, provider):
        forced = {**NAMESPACE, "metadata": {"name": "tenant", "annotations": {"pulumi.com/patchForce": "true"}}}
        create(provider, "core/v1:NamespacePatch", NAMESPACE)
        create(provider, "core/v1:NamespacePatch", forced)
        assert [r.query["force"] for r in api.of_objects()] == ["false", "true"]

    def test_a_conflict_names_the_other_manager(self, api, provider):
        api.refusals.append(lambda r: conflict() if r.method == "PATCH" else None)
        message = refused(create, provider, "core/v1:NamespacePatch", NAMESPACE)
        assert "server-side apply field conflict detected" in message
        assert 'conflict with "kubectl-label"' in message

    def test_what_the_server_says_reaches_the_user(self, api, provider):
        api.refusals.append(lambda r: {"code": 422, "reason": "Invalid", "message": "bad name"} if r.body else None)
        assert refused(create, provider, "core/v1:Namespace", NAMESPACE).endswith("bad name")

    def test_but_never_a_secret_that_it_repeats(self, api, provider):
        encoded = base64.b64encode(b"confidential").decode()
        api.refusals.append(
            lambda r: {"code": 422, "reason": "Invalid", "message": f"{encoded} or confidential"} if r.body else None
        )
        secret = {**CONFIG_MAP, "kind": "Secret", "data": {"a": encoded}}
        message = refused(create, provider, "core/v1:Secret", secret)
        assert message.endswith("[secret] or [secret]")

    def test_secret_inputs_are_secret_in_the_stored_state(self, provider):
        given = {**CONFIG_MAP, "data": {"a": Secret("b"), "c": "d"}}
        state = from_struct(create(provider, "core/v1:ConfigMap", given).properties)
        assert state["data"] == state["__inputs"]["data"] == {"a": Secret("b"), "c": "d"}


def conflict():
    message = 'Apply failed with 1 conflict: conflict with "kubectl-label" using v1: .metadata.labels.a'
    return {"code": 409, "reason": "Conflict", "message": message}


class TestWaiting:
    def waiting(self, expression):
        annotations = {"pulumi.com/waitFor": expression, "pulumi.com/timeoutSeconds": "20"}
        return {**NAMESPACE, "metadata": {"name": "tenant", "annotations": annotations}}

    def test_a_create_waits_until_the_condition_holds(self, api, provider):
        inputs = self.waiting("jsonpath={.status.phase}=Active")
        with ThreadPoolExecutor() as threads:
            response = threads.submit(create, provider, "core/v1:Namespace", inputs)
            until(lambda: created(api), 10, "the object is created")
            assert not response.done()
            api.put(
                "/api/v1/namespaces/tenant",
                {**api.objects["/api/v1/namespaces/tenant"], "status": {"phase": "Active"}},
            )
            assert from_struct(response.result(10).properties)["status"] == {"phase": "Active"}

    def test_at_the_end_of_its_time_the_object_is_kept_in_the_state(self, provider):
        inputs = self.waiting("condition=Ready")
        with pytest.raises(RefusedError) as caught:
            create(provider, "core/v1:Namespace", inputs, timeout=1)
        _, message, metadata = caught.value.args
        assert message.endswith("failed to fully initialize or become live: timed out waiting for the condition")
        detail = provider_pb2.ErrorResourceInitFailed()
        status_pb2.Status.FromString(dict(metadata)["grpc-status-details-bin"]).details[0].Unpack(detail)
        assert detail.id == "tenant"
        assert from_struct(detail.properties)["metadata"]["uid"] == "some-uid"

    def test_cancelling_ends_the_wait(self, provider):
        with ThreadPoolExecutor() as threads:
            response = threads.submit(refused, create, provider, "core/v1:Namespace", self.waiting("condition=Ready"))
            provider.Cancel(None, Context())
            assert "cancelled" in response.result(10)

    def test_skip_await_does_not_wait(self, provider):
        inputs = self.waiting("condition=Ready")
        inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] = "true"
        assert create(provider, "core/v1:Namespace", inputs).id == "tenant"


def created(api):
    if "/api/v1/namespaces/tenant" not in api.objects:
        raise NotYet("not there")


class TestUpdate:
    def test_it_applies_with_the_managers_name_in_the_state(self, api, provider):
        state = create(provider, "core/v1:Namespace", NAMESPACE).properties
        manager = from_struct(state)["__fieldManager"]
        changed = {**NAMESPACE, "metadata": {"name": "tenant", "labels": {"a": "2"}}}
        response = update(provider, "core/v1:Namespace", state, changed)
        request = api.of_objects()[-1]
        assert (request.method, request.query["fieldManager"]) == ("PATCH", manager)
        assert from_struct(response.properties)["__inputs"] == changed

    def test_it_first_takes_over_the_fields_of_the_creation(self, api, provider):
        state = create(provider, "core/v1:Namespace", NAMESPACE).properties
        live = api.objects["/api/v1/namespaces/tenant"]
        live["metadata"]["managedFields"] = [{"manager": "pulumi-kubernetes", "operation": "Update", "fieldsV1": {}}]
        update(provider, "core/v1:Namespace", state, NAMESPACE)
        take_over = api.of_objects()[-2].body[0]
        assert take_over["path"] == "/metadata/managedFields"
        assert take_over["value"][0]["operation"] == "Apply"

    def test_a_new_manager_gives_up_what_the_old_one_held(self, api, provider):
        state = create(provider, "core/v1:NamespacePatch", NAMESPACE).properties
        named = {**NAMESPACE, "metadata": {"name": "tenant", "annotations": {"pulumi.com/patchFieldManager": "mine"}}}
        update(provider, "core/v1:NamespacePatch", state, named)
        applied, given_up = api.of_objects()[-2:]
        assert applied.query["fieldManager"] == "mine"
        assert given_up.query["fieldManager"] == from_struct(state)["__fieldManager"]
        assert given_up.body["metadata"] == {"name": "tenant"}

    def test_a_refused_update_keeps_what_is_there_in_the_state(self, api, provider):
        state = create(provider, "core/v1:Namespace", NAMESPACE).properties
        api.refusals.append(lambda r: conflict() if r.method == "PATCH" else None)
        message = refused(update, provider, "core/v1:Namespace", state, NAMESPACE)
        assert 'reported that "tenant" failed to fully initialize' in message
        assert 'conflict with "kubectl-label"' in message


class TestRead:
    def read(self, provider, kind, identifier, state=None, inputs=None):
        request = provider_pb2.ReadRequest(
            urn=urn(kind), id=identifier, properties=state, inputs=to_struct(inputs) if inputs else None
        )
        return provider.Read(request, Context())

    def test_a_refresh_sees_drift_in_the_inputs_and_nothing_that_the_program_does_not_set(self, api, provider):
        state = create(provider, "core/v1:Namespace", NAMESPACE).properties
        api.objects["/api/v1/namespaces/tenant"]["metadata"]["labels"] = {"a": "drift", "b": "other"}
        response = self.read(provider, "core/v1:Namespace", "tenant", state, NAMESPACE)
        assert from_struct(response.inputs)["metadata"] == {"name": "tenant", "labels": {"a": "drift"}}
        assert from_struct(response.properties)["metadata"]["labels"] == {"a": "drift", "b": "other"}

    def test_what_is_gone_has_no_id(self, provider):
        assert self.read(provider, "core/v1:Namespace", "tenant", None, NAMESPACE).id == ""

    def test_an_import_takes_all_but_what_only_the_server_writes(self, provider):
        create(provider, "core/v1:ConfigMap", {**CONFIG_MAP, "data": {"a": "b"}})
        response = self.read(provider, "core/v1:ConfigMap", "apps/settings")
        assert from_struct(response.inputs) == {**CONFIG_MAP, "data": {"a": "b"}}


class TestDelete:
    PATH = "/api/v1/namespaces/tenant"

    def test_it_waits_until_the_object_is_gone(self, api, provider):
        held = {**NAMESPACE, "metadata": {"name": "tenant", "finalizers": ["hold"]}}
        state = create(provider, "core/v1:Namespace", held).properties
        with ThreadPoolExecutor() as threads:
            response = threads.submit(delete, provider, "core/v1:Namespace", "tenant", state)
            until(lambda: deleting(api), 10, "the delete is sent")
            assert not response.done()
            api.remove(self.PATH)
            response.result(10)
        sent = next(r for r in api.of_objects() if r.method == "DELETE")
        assert sent.body["propagationPolicy"] == "Foreground"

    def test_at_the_end_of_its_time_it_names_the_finalizers(self, provider):
        held = {**NAMESPACE, "metadata": {"name": "tenant", "finalizers": ["example.com/hold"]}}
        state = create(provider, "core/v1:Namespace", held).properties
        message = refused(delete, provider, "core/v1:Namespace", "tenant", state, timeout=1)
        assert message == "timed out waiting for the condition"
        assert "finalizers might be preventing deletion (example.com/hold)" in provider._log.messages

    def test_what_is_gone_already_is_well(self, api, provider):
        state = create(provider, "core/v1:Namespace", NAMESPACE).properties
        api.remove(self.PATH)
        delete(provider, "core/v1:Namespace", "tenant", state)

    def test_a_patch_gives_its_fields_up_and_leaves_the_object(self, api, provider):
        state = create(provider, "core/v1:NamespacePatch", NAMESPACE).properties
        delete(provider, "core/v1:NamespacePatch", "tenant", state)
        request = api.of_objects()[-1]
        assert (request.method, request.body["metadata"]) == ("PATCH", {"name": "tenant"})
        assert self.PATH in api.objects

    def test_a_patch_of_a_needed_field_says_what_to_do(self, api, provider):
        state = create(provider, "core/v1:NamespacePatch", NAMESPACE).properties
        required = {"code": 422, "reason": "Invalid", "message": "spec.x: Required value"}
        api.refusals.append(lambda r: required if r.method == "PATCH" else None)
        message = refused(delete, provider, "core/v1:NamespacePatch", "tenant", state)
        assert "set the `retainOnDelete` resource option" in message


def deleting(api):
    if not any(r.method == "DELETE" for r in api.requests):
        raise NotYet("not sent")


def test_the_client_keeps_to_its_limits(api):
    provider = configured(api, kubeClientSettings='{"qps": 20, "burst": 1}')
    names = [{**NAMESPACE, "metadata": {"name": f"t{index}"}} for index in range(4)]
    started = time.monotonic()
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda inputs: create(provider, "core/v1:Namespace", inputs), names))
    # The first goes at once, each other one a twentieth of a second after the one before.
    assert time.monotonic() - started >= 3 / 20

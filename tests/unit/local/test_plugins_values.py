"""Property values of the engine, to plain values and back."""

from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from local.plugins.kubernetes.values import (
    UNKNOWN,
    Secret,
    from_struct,
    has_secret,
    has_unknown,
    secret_texts,
    to_struct,
    without_secrets,
)

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4) | inner.map(Secret)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=10), plain, max_size=5))
def test_what_goes_to_the_engine_comes_back_the_same(properties):
    assert from_struct(to_struct(properties)) == properties


def test_empty_objects_and_lists_stay_objects_and_lists():
    assert from_struct(to_struct({"a": {}, "b": [], "c": [{}]})) == {"a": {}, "b": [], "c": [{}]}


def test_an_integral_number_is_an_integer_so_that_the_api_server_takes_it():
    struct = struct_pb2.Struct()
    struct["port"] = 53.0
    assert type(from_struct(struct)["port"]) is int


def test_what_is_not_known_yet_is_recognised_and_stays_so():
    properties = from_struct(to_struct({"metadata": {"name": UNKNOWN}}))
    assert properties["metadata"]["name"] is UNKNOWN
    assert has_unknown(properties)
    assert has_unknown({"a": [Secret({"b": UNKNOWN})]})
    assert not has_unknown({"a": [Secret({"b": "c"})]})


def test_an_output_is_its_value_secret_or_unknown():
    struct = struct_pb2.Struct()
    struct.update(
        {
            "known": {SIGNATURE: OUTPUT, "value": "a"},
            "hidden": {SIGNATURE: OUTPUT, "value": "b", "secret": True},
            "later": {SIGNATURE: OUTPUT},
        }
    )
    properties = from_struct(struct)
    assert properties == {"known": "a", "hidden": Secret("b"), "later": UNKNOWN}


def test_a_secret_travels_under_the_engines_mark():
    marked = json_format.MessageToDict(to_struct({"token": Secret("s3cret")}))["token"]
    assert marked == {SIGNATURE: SECRET, "value": "s3cret"}


def test_a_secret_never_shows_in_a_representation():
    assert "s3cret" not in repr({"token": Secret("s3cret")})


def test_secrets_are_laid_open_for_the_api_server_only_in_a_copy():
    properties = {"data": Secret({"a": "b"}), "list": [Secret("c")]}
    assert without_secrets(properties) == {"data": {"a": "b"}, "list": ["c"]}
    assert has_secret(properties)


def test_every_text_inside_a_secret_is_a_secret_text():
    assert set(secret_texts({"a": "open", "b": Secret({"c": ["x", {"d": "y"}]})})) == {"x", "y"}

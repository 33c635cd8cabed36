"""What the stages say without kwok: which images are public, and that one rule decides everywhere."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from local.controlplane import kwok
from local.controlplane.kwok import PUBLIC_HOSTS, public_images
from pullsecrets.image import written_host
from tests.node.messages import seen

HOSTS = st.sampled_from([*PUBLIC_HOSTS, "registry.example.com", "registry.example.com:5000", "quay.io.example.com", ""])
PATHS = st.from_regex(r"[a-z][a-z0-9]{0,5}(/[a-z]{1,4})?(:[a-z0-9.]{1,5})?", fullmatch=True)


@pytest.fixture(scope="module")
def stages():
    text = (kwok._STAGES / "pods.yaml").read_text()
    return {stage["metadata"]["name"]: stage["spec"] for stage in YAML(typ="safe").load_all(text)}


def public_image_rule(stage):
    return next(e["jq"] for e in stage["selector"]["matchExpressions"] if "PUBLIC_IMAGE" in e["jq"]["key"])


@given(HOSTS, PATHS)
def test_an_image_is_public_by_its_host(host, path):
    image = f"{host}/{path}" if host else path
    assert bool(re.search(public_images(), image)) == (written_host(image) in PUBLIC_HOSTS)


def test_a_pod_is_either_ready_or_cannot_pull(stages):
    ready, fails = (public_image_rule(stages[name]) for name in ("pod-ready", "pod-pull-fails"))
    assert ready["key"] == fails["key"]
    assert {ready["operator"], fails["operator"]} == {"DoesNotExist", "Exists"}


def test_the_rule_needs_no_escapes_where_it_is_filled_in():
    assert not set(public_images()) & set("\\\"'`{}\n")


def test_a_simulated_node_says_what_a_real_one_was_seen_to_say():
    assert kwok.NO_CREDENTIALS.replace("%[1]s", "<image>") == seen("no credentials")

"""Namespace patterns mean the same to Python, to ESO and to admission expressions."""

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets import names

NAME = st.from_regex(names.DNS_LABEL, fullmatch=True)
PATTERN = st.from_regex(names.NAMESPACE_PATTERN, fullmatch=True)


@given(NAME, PATTERN)
def test_a_star_stands_for_any_characters(name: str, pattern: str) -> None:
    assert names.matches(name, [pattern]) == fnmatchcase(name, pattern)


@given(NAME)
def test_a_name_is_a_pattern_of_itself_alone(name: str) -> None:
    assert names.matches(name, [name])
    assert not names.matches(f"{name}x", [name])
    assert not names.matches(f"x{name}", [name])


@given(PATTERN)
def test_the_regular_expression_uses_only_what_re2_knows(pattern: str) -> None:
    assert re.fullmatch(r"\^([a-z0-9-]|\.\*)*\$", names.pattern_to_regex(pattern))


@pytest.mark.parametrize("name", ["kube-system", "openshift-config", "openshift", "default"])
def test_the_clusters_own_namespaces_are_platform(name: str) -> None:
    assert names.is_platform_namespace(name)


@pytest.mark.parametrize("name", ["apps-kube-system", "defaults", "auth-dev", "openshiftish"])
def test_others_are_not(name: str) -> None:
    assert not names.is_platform_namespace(name)

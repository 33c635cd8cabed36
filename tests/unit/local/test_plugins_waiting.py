"""What `pulumi.com/waitFor` means."""

import json

import pytest

from local.plugins.kubernetes.waiting import ExpressionError, conditions_of, timeout_of

READY = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Active", "count": 3, "on": True}}


def holds(expression, obj):
    annotated = {"metadata": {"annotations": {"pulumi.com/waitFor": expression}}}
    return all(condition(obj) for condition in conditions_of(annotated))


@pytest.mark.parametrize(
    "expression",
    [
        "condition=Ready",
        "condition=ready=true",
        "jsonpath={.status.phase}=Active",
        "jsonpath={.status.phase}",
        "jsonpath={.status.count}=3",
        "jsonpath={.status.on}=true",
        'jsonpath={.status.conditions[?(@.type=="Ready")].status}=True',
        'jsonpath={$.status.conditions[?@.type == "Ready"].status}=True',
        json.dumps(["condition=Ready", "jsonpath={.status}"]),
    ],
)
def test_expressions_that_hold(expression):
    assert holds(expression, READY)
    assert not holds(expression, {"status": {}}) or expression == "jsonpath={.status}"


def test_all_of_a_list_must_hold():
    assert not holds(json.dumps(["condition=Ready", "condition=Synced"]), READY)


@pytest.mark.parametrize("expression", ["condition=Ready=False", "jsonpath={.status.phase}=Gone", "condition=Other"])
def test_expressions_that_do_not_hold(expression):
    assert not holds(expression, READY)


@pytest.mark.parametrize("where", ["condition", "status"])
def test_what_was_said_of_an_earlier_generation_does_not_count(where):
    observed = {"observedGeneration": 1}
    condition = {"type": "Ready", "status": "True"} | (observed if where == "condition" else {})
    status = {"conditions": [condition]} | (observed if where == "status" else {})
    assert not holds("condition=Ready", {"metadata": {"generation": 2}, "status": status})
    assert holds("condition=Ready", {"metadata": {"generation": 1}, "status": status})


@pytest.mark.parametrize(
    ("expression", "cause"),
    [
        ("phase=Active", 'expected a "jsonpath=" or "condition=" prefix, got "phase=Active"'),
        ("jsonpath=.status.phase=Active", "should be wrapped in brackets"),
        ("jsonpath={.status.phase}=", "requires a value"),
        ("jsonpath={.a}=b=c", "format should be"),
        ("jsonpath='{.a}'", "should omit shell quotes"),
        ("jsonpath={.a[}", "parsing"),
        ("[]", "at least one condition"),
    ],
)
def test_malformed_expressions_are_told(expression, cause):
    with pytest.raises(ExpressionError, match=cause.replace("[", r"\[")):
        holds(expression, READY)


def test_the_resources_own_limit_wins_over_the_annotation_and_that_over_ten_minutes():
    annotated = {"metadata": {"annotations": {"pulumi.com/timeoutSeconds": "5"}}}
    assert timeout_of(3, annotated) == 3
    assert timeout_of(0, annotated) == 5
    assert timeout_of(0, {}) == 600
    assert timeout_of(0, {"metadata": {"annotations": {"pulumi.com/timeoutSeconds": "soon"}}}) == 600

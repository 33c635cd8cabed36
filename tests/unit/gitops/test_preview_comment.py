"""The pull request's comment: what it says of a recorded preview, and what no preview makes it say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pullsecrets.cli.app import app
from pullsecrets.errors import BadInputError
from pullsecrets.gitops import preview_comment

PREVIEWS = Path(__file__).parent / "previews"
DIGEST = (PREVIEWS / "digest.json").read_text(encoding="utf-8")
EVENTS = (PREVIEWS / "events.jsonl").read_text(encoding="utf-8")
URN = "urn:pulumi:dev::pull-secrets::pullsecrets:index:TenantNamespace$kubernetes:core/v1:Namespace::auth"
SECRET = "canary-5f2c9d"


def comment(text: str, **options: Any) -> str:
    return preview_comment.render(preview_comment.read(text), "dev", **options)


def digest(steps: list[dict[str, Any]] | None = None, **rest: Any) -> str:
    return json.dumps({"config": {}, "steps": steps or [], "diagnostics": [], "changeSummary": {}, **rest})


def step(operation: str = "update", urn: str = URN, **rest: Any) -> dict[str, Any]:
    return {"op": operation, "urn": urn, "detailedDiff": None, **rest}


def stream(*events: dict[str, Any], ended: bool = True) -> str:
    end = [{"summaryEvent": {"resourceChanges": {"same": 3}}}] if ended else []
    return "\n".join(json.dumps({"sequence": number, **event}) for number, event in enumerate([*events, *end]))


def shown(text: str) -> str:
    """The comment as it reads once rendered, its entities resolved."""
    return re.sub(r"&#(\d+);", lambda entity: chr(int(entity[1])), text)


@pytest.mark.parametrize("recorded", [DIGEST, EVENTS], ids=["digest", "events"])
def test_a_recorded_preview_is_counted_and_names_resources_and_properties(recorded: str) -> None:
    text = shown(comment(recorded))
    assert "**3 to delete, 2 to update**, 26 unchanged." in text
    assert (
        "| <code>delete</code> | <code>kubernetes:core/v1:Namespace</code> | <code>auth-dev-namespace</code> |" in text
    )
    assert "<code>spec.externalSecretSpec.refreshInterval, spec.refreshTime</code>" in text


def test_policy_violations_are_in_the_event_stream_and_are_shown_with_policy_and_resource() -> None:
    text = shown(comment(EVENTS))
    assert "#### Policy violations (2)" in text
    assert "<code>stack-hygiene/protect-namespaces-and-stores</code>" in text
    assert "ClusterSecretStore vault-platform is not protected; set the resource option protect" in text


def test_warnings_are_shown_and_debug_and_information_are_not() -> None:
    text = shown(comment(EVENTS))
    assert "Vault path secret/ocp/dev/registries/app-registry-pull holds no credential" in text
    assert "registering resource" not in text
    assert "provider cluster" not in text


def test_values_of_the_recorded_preview_stay_out() -> None:
    for text in (comment(DIGEST), comment(EVENTS)):
        assert "1h" not in text
        assert "2h" not in text
        assert "vault.example" not in shown(text)


def test_a_mandatory_violation_makes_the_preview_refused() -> None:
    event = {
        "enforcementLevel": "mandatory",
        "policyPackName": "p",
        "policyName": "n",
        "message": "m",
        "resourceUrn": URN,
    }
    assert "**Refused**" in comment(stream({"policyEvent": event}))
    assert "**Refused**" not in comment(stream({"policyEvent": {**event, "enforcementLevel": "advisory"}}))


@pytest.mark.parametrize("broken_off", ["", stream(ended=False)], ids=["nothing printed", "killed"])
def test_a_preview_that_broke_off_is_never_shown_as_one_without_changes(broken_off: str) -> None:
    text = comment(broken_off)
    assert "**Failed**" in text
    assert "No changes" not in text


def test_a_replacement_is_one_change() -> None:
    halves = [step("create-replacement"), step("replace", replaceReasons=["metadata"]), step("delete-replaced")]
    text = comment(digest(halves))
    assert "**1 to replace**" in text
    assert text.count("<code>auth</code>") == 1


def test_a_message_that_repeats_a_value_loses_it_and_keeps_what_the_configuration_says() -> None:
    states = step(oldState={"inputs": {"a": SECRET}, "outputs": {}}, newState={"inputs": {"p": "ocp/dev/registry"}})
    diagnostics = [{"severity": "error", "message": f"error: refused {SECRET} at ocp/dev/registry\n"}]
    text = shown(comment(digest([states], diagnostics=diagnostics, config={"path": '{"a": "ocp/dev/registry"}'})))
    assert "<code>refused [removed] at ocp/dev/registry</code>" in text


def test_a_value_known_after_the_step_only_is_taken_out_of_a_policys_message() -> None:
    outputs = {"resOutputsEvent": {"metadata": step(new={"inputs": {}, "outputs": {"token": SECRET}})}}
    violation = {"policyEvent": {"message": f"found {SECRET}", "resourceUrn": URN, "enforcementLevel": "mandatory"}}
    assert SECRET not in shown(comment(stream(violation, outputs)))


@given(st.text(min_size=1, max_size=80))
def test_text_of_a_preview_is_text_in_the_comment(text: str) -> None:
    hostile = f"{text} <img src=x> [a](https://b) @team `x` | *b* <!-- --> \u202e"
    diagnostics = [{"severity": "error", "message": hostile}]
    found = comment(digest([step(urn=URN + hostile, detailedDiff={hostile: {}})], diagnostics=diagnostics))
    for cell in re.findall(r"<code>(.*?)</code>", found, re.DOTALL):
        assert re.fullmatch(r"(?:[A-Za-z0-9 \-/,;'()=+?%$]|&#\d+;)*", cell)
    assert len(re.findall(r"^\| <code>", found, re.MULTILINE)) == 2


values = st.recursive(
    st.integers(min_value=0).map(lambda number: f"{SECRET}-{number}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(st.tuples(st.sampled_from(["create", "update", "delete", "replace", "same"]), values, values), max_size=5)
)
def test_no_value_of_a_resources_state_is_in_the_comment(states: list[tuple[str, Any, Any]]) -> None:
    steps = [
        step(operation, oldState={"inputs": {"x": old}, "outputs": {"y": old}}, newState={"inputs": {"x": new}})
        for operation, old, new in states
    ]
    messages = [{"severity": "error", "message": f"refused {leaf}"} for state in states for leaf in leaves(state[1:])]
    assert SECRET not in shown(comment(digest(steps, diagnostics=messages)))


def leaves(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [leaf for item in (value.values() if isinstance(value, dict) else value) for leaf in leaves(item)]


@given(count=st.integers(0, 400), text=st.text(max_size=700), limit=st.integers(4_000, preview_comment.LIMIT))
def test_a_comment_is_never_longer_than_the_limit(count: int, text: str, limit: int) -> None:
    steps = [step(urn=f"{URN}{number}{text}") for number in range(count)]
    diagnostics = [{"severity": "warning", "message": text}] * count
    found = comment(digest(steps, diagnostics=diagnostics), limit=limit)
    assert len(found.encode()) <= limit
    assert found.count("<details>") == found.count("</details>")


def test_rows_that_do_not_fit_are_counted() -> None:
    text = comment(digest([step(urn=f"{URN}{number}") for number in range(2_000)]))
    rows = text.count("| <code>update</code>")
    assert 0 < rows < 2_000
    assert f"{2_000 - rows} more do not fit" in text


@given(st.from_regex(r"[A-Za-z0-9_.-]{1,100}", fullmatch=True))
def test_the_marker_is_the_first_line_whatever_the_preview_holds(stack: str) -> None:
    empty, full = (preview_comment.render(preview_comment.read(text), stack) for text in (digest(), DIGEST))
    assert empty.splitlines()[0] == full.splitlines()[0] == preview_comment.marker(stack)
    assert full.count(preview_comment.marker(stack)) == 1


@pytest.mark.parametrize("stack", ["", "a b", "-->", "dev\n"])
def test_a_marker_takes_names_of_stacks_only(stack: str) -> None:
    with pytest.raises(BadInputError, match="--stack: found"):
        preview_comment.marker(stack)


@pytest.mark.parametrize("text", ["error: no stack", "[]", '{"a": 1}', '{"steps": [{}]}', "{}", '{"sequence": 1} {}'])
def test_something_else_than_a_preview_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="something other than the output of `pulumi preview --json`"):
        preview_comment.read(text)


@pytest.mark.parametrize("link", ["javascript:x", 'https://h/"><b>', "https://h/" + "a" * 600])
def test_a_link_is_an_address(link: str) -> None:
    with pytest.raises(BadInputError, match="--link"):
        comment(digest(), link=link)


def test_the_command_reads_a_file_or_standard_input_alike() -> None:
    options = ["--stack", "dev", "--link", "https://ci.example/run/1"]
    from_file = CliRunner().invoke(app, ["preview-comment", str(PREVIEWS / "digest.json"), *options])
    piped = CliRunner().invoke(app, ["preview-comment", "-", *options], input=DIGEST)
    assert from_file.exit_code == piped.exit_code == 0
    assert from_file.stdout == piped.stdout == comment(DIGEST, link="https://ci.example/run/1")


def test_a_file_that_is_not_there_is_named() -> None:
    result = CliRunner().invoke(app, ["preview-comment", "absent.json", "--stack", "dev"])
    assert isinstance(result.exception, BadInputError)
    assert "absent.json: No such file" in str(result.exception)


def resource(operation: str, kind: str, old: Any = None, new: Any = None, **rest: Any) -> dict[str, Any]:
    states = {name: {"inputs": inputs} for name, inputs in (("oldState", old), ("newState", new)) if inputs}
    return step(operation, f"urn:pulumi:dev::pull-secrets::{kind}::r", **states, **rest)


OPT_IN = "pulumi-python:dynamic/pullsecrets:NamespaceOptIn"
BINDING = "pulumi-python:dynamic/pullsecrets:ImagePullSecretBinding"
FANOUT = "kubernetes:external-secrets.io/v1:ClusterExternalSecret"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
TENANT = {
    "namespace": "shop",
    "labels": {"apps.platform/tenant": "true"},
    "registries": {"app": {"apps.platform/tenant": "true"}},
    "owner": "pull-secrets/dev",
    "delete": False,
}


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([resource("create", OPT_IN, new=TENANT)], ["1 tenant joins: shop", "nothing is deleted"]),
        (
            [resource("delete", OPT_IN, old=TENANT)],
            ["1 tenant leaves: shop", "1 resource of the stack is deleted"],
        ),
        (
            [resource("delete", OPT_IN, old={**TENANT, "delete": True})],
            ["1 resource of the stack is deleted, the namespaces shop with everything in them"],
        ),
        (
            [resource("replace", FANOUT, old={"metadata": {"name": "app"}}, new={"metadata": {"name": "app"}})],
            ["pull Secret app is re-created"],
        ),
        (
            [
                resource(
                    "update",
                    POLICY,
                    old={"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}},
                    new={"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}]}},
                )
            ],
            ["ESO's egress changes: +10.1.0.0/16, -10.0.0.0/8"],
        ),
        ([resource("update", OPT_IN, old=TENANT, new={**TENANT, "labels": {}})], ["1 tenant changes: shop"]),
    ],
)
def test_a_comment_leads_with_what_it_means_for_tenants(steps: list[dict[str, Any]], told: list[str]) -> None:
    lines = shown(comment(digest(steps))).splitlines()
    impact = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    assert set(told) <= set(impact)
    assert impact[-1].endswith(("deleted", "with everything in them"))
    assert lines.index(f"- {impact[0]}") < next(i for i, line in enumerate(lines) if "Resources" in line)


def cells_of(*steps: dict[str, Any]) -> list[list[str]]:
    """The cells of the tenants' rows."""
    rows = [
        line for line in shown(comment(digest([*steps]))).splitlines() if "<code>shop" in line or "<code>new" in line
    ]
    return [re.findall(r"<code>(.*?)</code>", row) for row in rows]


OLD = {"service_accounts": ["default", "web"], "secrets": ["app"]}
NEW = {**OLD, "service_accounts": ["ci", "web"]}


@pytest.mark.parametrize(
    "binding",
    [
        resource("update", BINDING, old={"namespace": "shop", **OLD}, new={"namespace": "shop", **NEW}),
        resource(
            "update",
            f"{BINDING}s",
            old={"namespaces": {"shop": OLD, "newer": OLD}},
            new={"namespaces": {"shop": NEW, "newer": OLD}},
        ),
    ],
)
def test_each_tenant_is_a_row_with_lists_as_sets(binding: dict[str, Any]) -> None:
    assert cells_of(resource("create", OPT_IN, new={**TENANT, "namespace": "new"}), binding) == [
        ["joins", "new", "+apps.platform/tenant=true", "+app", "created", ""],
        ["changes", "shop", "", "", "", "+ci, -default"],
    ]


def test_a_tenant_whose_entries_are_lacking_is_a_row() -> None:
    old = {"namespaces": {"shop": OLD, "new": OLD}}
    step = resource("update", f"{BINDING}s", old=old, new={**old, "lacking": {"shop": {"default": ["app"]}}})
    assert cells_of(step) == [["changes", "shop", "", "", "", ""]]


def test_a_binding_that_comes_or_goes_while_the_tenant_stays_is_no_row() -> None:
    former = resource("delete", BINDING, old={"namespace": "shop", **OLD})
    assert cells_of(former, resource("create", f"{BINDING}s", new={"namespaces": {"shop": OLD}})) == []


def test_another_path_of_the_kubeconfig_is_no_change() -> None:
    moved = resource("update", "pulumi:providers:kubernetes", detailedDiff={"kubeconfig": {"kind": "update"}})
    assert "**No changes**" in shown(comment(digest([moved])))
    context = {"kubeconfig": {"kind": "update"}, "context": {"kind": "update"}}
    other = resource("update", "pulumi:providers:kubernetes", detailedDiff=context)
    assert "**1 to update**" in shown(comment(digest([other])))

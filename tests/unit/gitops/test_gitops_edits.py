"""An edit of YAML text changes the intended lines and no other byte, whatever the style of the file."""

import difflib
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pullsecrets.gitops import component
from pullsecrets.gitops.edits import NotEditableError, add_entries, add_to_kustomization, add_value, remove_entries

OURS = "ours"
PATH = "../../../components/imagepullsecret/ours"


def remove(text: str) -> str:
    return remove_entries(text, OURS, component.covers).text


def pod(lines: str, *, kind: str = "Deployment", version: str = "apps/v1") -> str:
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n  template:\n    spec:\n{lines}"


@st.composite
def pod_specs(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A workload's text, and the names in its list, in one of the ways in which people write them."""
    names = draw(st.lists(st.sampled_from([OURS, "other", "third"]), min_size=1, max_size=4))
    quote = draw(st.sampled_from(["", "'", '"']))
    comment = draw(st.sampled_from(["", "  # why", " #"]))
    if draw(st.booleans()):
        indent = " " * draw(st.integers(0, 5))
        dash = "-" + " " * draw(st.integers(1, 4))
        between = draw(st.sampled_from(["", "      # a comment\n", "\n", "      #\ttab\n", "# at the margin\n"]))
        items = between.join(f"      {indent}{dash}name: {quote}{name}{quote}{comment}\n" for name in names)
        listed = f"      imagePullSecrets:{comment}\n{between}{items}"
    else:
        comma = draw(st.sampled_from([", ", ",", ",\n          "]))
        entries = comma.join(f"{{name: {quote}{name}{quote}}}" for name in names)
        opening = draw(st.sampled_from(["[", "[ ", "[\n        "]))
        listed = f"      imagePullSecrets: {opening}{entries}{draw(st.sampled_from(['', ',']))}]{comment}\n"
    before = draw(st.sampled_from(["", "      restartPolicy: Always\n", "      # of the list\n"]))
    after = draw(st.sampled_from(["", "      # of the containers\n", "\n"]))
    containers = draw(
        st.sampled_from(["      containers: [{image: a/b}]\n", "      containers:\n      - image: a/b\n"])
    )
    text = pod(before + listed + after + containers)
    text = draw(st.sampled_from(["", "---\n", "# head\n---\n", "kind: Other\n---\n"])) + text
    text += draw(st.sampled_from(["", "---\nkind: Service\n", "...\n", "# end"]))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(st.sampled_from(["", "\ufeff"])) + text, names


@given(pod_specs())
@settings(max_examples=100, deadline=None)
def test_only_our_entries_go_and_only_their_lines_change(given_text: tuple[str, list[str]]) -> None:
    text, names = given_text
    removal = remove_entries(text, OURS, component.covers)
    rest = [name for name in names if name != OURS]
    assert removal.kept == ()
    assert removal.removed == names.count(OURS)
    assert _names(removal.text) == (rest or None)
    assert _without_list(removal.text) == _without_list(text)
    assert _comments(removal.text) == _comments(text)
    assert _foreign_lines(text, removal.text) == []
    assert remove(removal.text) == removal.text


def _spec(text: str) -> tuple[list[Any], dict[str, Any]]:
    documents = list(yaml.safe_load_all(text.removeprefix("\ufeff")))
    return documents, next(item["spec"]["template"]["spec"] for item in documents if item and "spec" in item)


def _names(text: str) -> list[str] | None:
    entries = _spec(text)[1].get("imagePullSecrets")
    return None if entries is None else [entry["name"] for entry in entries]


def _without_list(text: str) -> list[Any]:
    documents, spec = _spec(text)
    spec.pop("imagePullSecrets", None)
    return documents


def _comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip().startswith("#")]


def _foreign_lines(old: str, new: str) -> list[str]:
    """The changed lines that do not belong to the list."""
    before, after = old.split("\n"), new.split("\n")
    first = next(index for index, line in enumerate(before) if "imagePullSecrets" in line)
    last = next(index for index, line in enumerate(before) if "containers:" in line)
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [
        line for tag, start, end, *_ in changes if tag != "equal" for line in before[start:end]
        if before.index(line) < first or before.index(line) >= last
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("      imagePullSecrets:\n      - name: ours\n", "      {}\n"),
        ("      {imagePullSecrets: [{name: ours}], containers: []}\n", "      {containers: []}\n"),
        ("      {containers: [], imagePullSecrets: [{name: ours}]}\n", "      {containers: []}\n"),
        ("      {imagePullSecrets: [{name: ours}]}\n", "      {}\n"),
        (
            "      imagePullSecrets:\n      -\n        name: ours\n      - name: other\n      x: 1\n",
            "      imagePullSecrets:\n      - name: other\n      x: 1\n",
        ),
        ("      imagePullSecrets: []\n      x: 1\n", "      imagePullSecrets: []\n      x: 1\n"),
        ("      imagePullSecrets: null\n", "      imagePullSecrets: null\n"),
    ],
)
def test_the_form_of_what_is_left(before: str, after: str) -> None:
    assert remove(pod(before)) == pod(after)


def test_the_deeper_path_of_a_cron_job_and_the_items_of_a_list() -> None:
    job = "apiVersion: batch/v1\nkind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {%s x: 1}}}}}\n"
    assert remove(job % "imagePullSecrets: [{name: ours}],") == job.replace("%s ", "")
    listed = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: Deployment\n  spec:\n    template:\n"
    block = "      spec:\n        imagePullSecrets:\n        - name: ours\n        x: 1\n"
    assert remove(listed + block) == f"{listed}      spec:\n        x: 1\n"


@pytest.mark.parametrize(
    "text",
    [
        pod("      imagePullSecrets:\n      - name: &pull ours\n      x: *pull\n"),
        pod("      x: &list [{name: ours}]\n      imagePullSecrets: *list\n      y: *list\n"),
        pod("      <<: *defaults\n      x: 1\n").replace(
            "apiVersion", "x: &defaults {imagePullSecrets: [{name: ours}]}\napiVersion", 1
        ),
    ],
)
def test_what_an_anchor_shares_is_kept_or_cut_without_harm(text: str) -> None:
    removal = remove_entries(text, OURS, component.covers)
    wanted = yaml.safe_load(text)
    if removal.removed:
        del wanted["spec"]["template"]["spec"]["imagePullSecrets"]
    else:
        assert removal.text == text
        assert removal.kept
    assert yaml.safe_load(removal.text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        pod("      imagePullSecrets: [{name: ours}]\n", version="extensions/v1beta1"),
        pod("      imagePullSecrets: [{name: ours}]\n", kind="Rollout", version="argoproj.io/v1alpha1"),
        pod("      imagePullSecrets:\n      - $patch: replace\n      - name: ours\n"),
    ],
)
def test_what_the_component_does_not_give_back_is_not_taken(text: str) -> None:
    assert remove(text) == text


def test_a_file_that_cannot_be_read_as_yaml_1_2_is_kept_and_told() -> None:
    text = pod("      imagePullSecrets:\n\t\n      - name: ours\n")
    removal = remove_entries(text, OURS, component.covers)
    assert (removal.text, removal.removed) == (text, 0)
    assert "cannot start any token" in removal.kept[0].reason


@st.composite
def kustomizations(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A kustomization's text and the components in it."""
    present = draw(st.lists(st.sampled_from(["../a", "../b"]), max_size=2, unique=True))
    indent, dash = draw(st.sampled_from(["", "  ", "    "])), draw(st.sampled_from(["- ", "-   "]))
    resources = f"resources:\n{indent}{dash}a.yaml\n{indent}{dash}b.yaml # why\n"
    comment = draw(st.sampled_from(["", "# about it\n", "\n"]))
    if present and draw(st.booleans()):
        components = "components:\n" + comment.join(f"{indent}{dash}{name}  # x\n" for name in present)
    elif present:
        components = f"components: [{', '.join(present)}] # x\n"
    else:
        components = draw(st.sampled_from(["", "components:\n", "components: []\n", "components: null # x\n"]))
    patch = draw(st.sampled_from(["", "patches:\n- patch: |-\n    kind: A\n    # no comment\n", "namespace: a\n"]))
    parts = draw(st.permutations([resources, components, patch]))
    text = draw(st.sampled_from(["", "---\n", "# head\n"])) + comment.join(parts)
    text += draw(st.sampled_from(["", "...\n", "# end\n", "\n\n"]))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return text.rstrip("\r\n") if draw(st.booleans()) else text, present


@given(kustomizations())
@settings(max_examples=100, deadline=None)
def test_a_component_is_added_in_one_place(given_text: tuple[str, list[str]]) -> None:
    text, present = given_text
    added = add_to_kustomization(text, "components", PATH)
    wanted = {**yaml.safe_load(text), "components": [*present, PATH]}
    assert yaml.safe_load(added) == wanted
    assert ("\r\n" in added) == ("\r\n" in text)
    assert added.replace("\r\n", "").count("\n") in {0, added.count("\n")}
    # One insertion: what stands before it and behind it is the old text.
    changes = difflib.SequenceMatcher(None, text.splitlines(), added.splitlines(), autojunk=False).get_opcodes()
    changed = [line for tag, start, end, *_ in changes if tag != "equal" for line in text.splitlines()[start:end]]
    assert all(line.startswith("components:") for line in changed)
    assert len(changed) <= 1
    assert add_to_kustomization(added, "components", PATH) == added


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "components: {a: b}\n", "a: [\n", "components: text\n"])
def test_what_is_no_kustomization_is_refused(text: str) -> None:
    with pytest.raises(NotEditableError):
        add_to_kustomization(text, "components", PATH)


POD = "kind: Pod\napiVersion: v1\nspec:\n"
LIST = f"{POD}  imagePullSecrets:"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{POD}  containers: []\n", f"{LIST}\n    - name: s\n  containers: []\n"),
        (f"{POD}  # on\n  a: []\n", f"{POD}  # on\n  imagePullSecrets:\n    - name: s\n  a: []\n"),
        (
            f"{LIST}\n  - name: a # ours\n  # the rest\n  containers: []\n",
            f"{LIST}\n  - name: a # ours\n  - name: s\n  # the rest\n  containers: []\n",
        ),
        (f"{LIST} [{{name: a}}] # one\n", f"{LIST} [{{name: a}}, {{name: s}}] # one\n"),
        (f"{LIST} []\n", f"{LIST} [{{name: s}}]\n"),
        (f"{LIST}\n  containers: []\n", f"{LIST} [{{name: s}}]\n  containers: []\n"),
        ("{kind: Pod, apiVersion: v1, spec: {containers: []}}", None),
        (f"{LIST}\n    - name: s\n", f"{LIST}\n    - name: s\n"),
        (f"---\r\n{POD}  a: 1\n".replace("\n", "\r\n"), None),
    ],
)  # fmt: skip
def test_an_entry_is_added_behind_those_that_are_there(before: str, after: str | None) -> None:
    added = add_entries(before, "s", lambda _item, _pod: True)
    assert after in (added, None)
    (document,) = yaml.safe_load_all(added)
    assert [entry["name"] for entry in document["spec"]["imagePullSecrets"]][-1] == "s"
    assert added.count("\r\n") == (added.count("\n") if "\r" in before else 0)
    assert add_entries(added, "s", lambda _item, _pod: True) == added


def test_an_entry_is_not_added_to_what_an_anchor_shares() -> None:
    shared = "a: &pod {containers: []}\n"
    with pytest.raises(NotEditableError, match="would change something else"):
        add_entries(f"{shared}kind: Pod\napiVersion: v1\nspec: *pod\n", "s", lambda _item, _pod: True)
    with pytest.raises(NotEditableError, match=r"it has no spec\.template\.spec, which would hold the list"):
        add_entries("kind: Deployment\napiVersion: apps/v1\n", "s", lambda _item, _pod: True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: 1\n", 'a: 1\nb: {"c": ["s"]}\n'),
        ("b:\n  d: 1\n", 'b:\n  c:\n    - "s"\n  d: 1\n'),
        ("b: {}\n", 'b: {c: ["s"]}\n'),
        ("b:\n  c: [a]\n", 'b:\n  c: [a, "s"]\n'),
        ("b:\n  c:\n  - a\n", 'b:\n  c:\n  - a\n  - "s"\n'),
    ],
)
def test_a_value_is_added_with_what_is_missing_around_it(before: str, after: str) -> None:
    assert add_value(before, (0, "b", "c"), "s") == after

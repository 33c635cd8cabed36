"""What lint reads is what kubectl reads: compared file by file with the real one."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pullsecrets import guard
from pullsecrets.policy.lint import documents
from pullsecrets.policy.lint.reading import Manifest, Unread, read

CASES = Path(__file__).parent / "cases" / "lint"
KUBECTL = Path(sys.prefix) / "bin" / "kubectl"
GUARDED = ("Secret", "openshift-config", "pull-secret")

SECRET = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: pull-secret\n  namespace: openshift-config\n"
FIRST = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
JSON = '{"apiVersion": "v1", "kind": "%s", "metadata": {"name": "pull-secret", "namespace": "openshift-config"}}'
PLACE = "{name: pull-secret, namespace: openshift-config}"
ODD = {
    "a tag of somebody else's": SECRET.replace("Secret", "!vault Secret"),
    "a tag on a map": SECRET.replace("metadata:", "metadata: !include"),
    "the non-specific tag": SECRET.replace("pull-secret", "! pull-secret"),
    "a verbatim tag": SECRET.replace("kind: Secret", "kind: !<tag:yaml.org,2002:binary> U2VjcmV0"),
    "a tagged key": SECRET.replace("  name:", "  !!binary bmFtZQ==:"),
    "an anchor on a value": SECRET.replace("pull-secret", "&name pull-secret"),
    "an anchor that is set again": "a: &x a\nb: &x Secret\n" + SECRET.replace("kind: Secret", "kind: *x"),
    "an alias as a key": SECRET.replace("  name:", "  &k name:") + "x: {*k : a}\n",
    "merges inside merges": "x: &a {name: pull-secret}\ny: &b {<<: *a, namespace: openshift-config}\n"
    "apiVersion: v1\nkind: Secret\nmetadata:\n  <<: *b\n",
    "a key after a merge": SECRET.replace("  name:", "  <<: {name: other}\n  name:"),
    "a quoted merge key": SECRET + '  annotations: {"<<": a}\n',
    "a tagged merge key": "apiVersion: v1\nkind: Secret\nmetadata:\n  !!merge <<: {name: pull-secret}\n"
    "  namespace: openshift-config\n",
    "a merge of no map": SECRET + "  <<: a\n",
    "text after the document": SECRET + "...\n" + FIRST,
    "a separator with a space": FIRST + "---   \n" + SECRET,
    "a separator with a comment": FIRST + "--- # next\n" + SECRET,
    "only comments first": "# a\n---\n# b\n---\n" + SECRET,
    "a byte order mark": "\ufeff" + SECRET,
    "a byte order mark in between": FIRST + "---\n\ufeff" + SECRET,
    "lines of Windows": SECRET.replace("\n", "\r\n"),
    "lines of old Macs": SECRET.replace("\n", "\r"),
    "lines of Unicode": SECRET.replace("\n", "\u2028"),
    "tabs in JSON": JSON.replace(" ", "\t") % "Secret",
    "JSON's escapes": JSON.replace("pull-secret", "pull\\u002dsecret") % "Sec\\u0072et",
    "escapes that only JSON has": (JSON % "Secret").replace("}}", ', "annotations": {"a": "\\/ \\ud83d\\ude00"}}}'),
    "equal keys in JSON": '{"metadata": {"name": "a"}, ' + (JSON % "Secret")[1:],
    "JSON, then YAML": JSON % "ConfigMap" + "\n---\n" + SECRET,
    "a flow map that is no JSON": f"{{apiVersion: v1, kind: Secret, metadata: {PLACE}}}",
    "a text over two lines": SECRET.replace("pull-secret", '"pull-\\\n    secret"'),
    "a typed list": f"apiVersion: v1\nkind: SecretList\nitems:\n- metadata: {PLACE}\n",
    "keys that are no texts": SECRET + "data:\n  1: a\n  true: b\n  1.5: c\n",
    "an empty key": SECRET + "~: a\n",
    "an anchor that holds itself": SECRET + "x: &a [*a]\n",
    "aliases that unfold": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcde", "bcdef", strict=True))
    + SECRET,
    "a number that is none": SECRET + "  annotations: {a: !!int abc}\n",
    "base64 that is none": SECRET + "  annotations: {a: !!binary '%%%'}\n",
    "a control character": SECRET + "  annotations: {a: \x01}\n",
    "a separator with something": FIRST + "----\n" + SECRET,
}


def read_by_kubectl(*files: Path) -> list[dict[str, Any]]:
    """What kubectl reads of files; what it cannot read it leaves out."""
    options = [part for file in files for part in ("-f", str(file))]
    done = subprocess.run(
        [KUBECTL, "label", "--local", "--dry-run=client", "-o", "json", *options, "x=y"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found: list[dict[str, Any]] = []
    rest = done.stdout.lstrip()
    while rest:
        item, end = json.JSONDecoder().raw_decode(rest)
        found.append(item)
        rest = rest[end:].lstrip()
    return [item for item in found if item.get("kind")]


def identity(item: Any) -> tuple[Any, ...]:
    metadata = item.get("metadata") or {}
    return item.get("kind"), metadata.get("namespace"), metadata.get("name")


def compare(file: Path) -> None:
    """Hold what lint reads of a file against what kubectl does."""
    ours = list(read(file))
    theirs = {identity(item) for item in read_by_kubectl(file)}
    manifests = [found for found in ours if isinstance(found, Manifest)]
    items = {identity(found.item) for found in manifests}
    assert theirs <= items
    if GUARDED in theirs:
        assert any(write.is_refused for found in manifests for write in guard.find_writes(found.item))
    if not theirs and not items:
        assert [found for found in ours if isinstance(found, Unread)], "neither read, and not a word"


@pytest.mark.parametrize("file", sorted(CASES.iterdir()), ids=lambda file: file.name)
def test_each_case_is_read_as_kubectl_reads_it(file: Path) -> None:
    compare(file)


@pytest.mark.parametrize("name", ODD)
def test_odd_spellings_are_read_as_kubectl_reads_them(name: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(ODD[name].encode())
    compare(file)


def test_a_scalar_is_a_text_exactly_where_it_is_one_for_kubectl(tmp_path: Path) -> None:
    letters = random.Random(1137)  # noqa: S311 - the same scalars in each run
    alphabet = "0123456789_-+.:eExXobnNyYaAfFtTrRuUlLsS~<="
    scalars = {"".join(letters.choices(alphabet, k=letters.randint(1, 6))) for _ in range(600)}
    scalars |= {
        "0o17",
        "017",
        "1_000",
        "1e3",
        "5.",
        ".5",
        "0x1F",
        "0b11",
        "2024-01-02",
        "190:20:30",
        "NULL",
        "On",
        "0o",
        "08",
    }
    files: dict[str, str] = {}
    for number, scalar in enumerate(sorted(scalars)):
        name = f"case-{number}"
        files[name] = scalar
        text = f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  annotations:\n    a: {scalar}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    theirs = {item["metadata"]["name"]: item["metadata"]["annotations"]["a"] for item in read_by_kubectl(tmp_path)}
    ours: dict[str, Any] = {}
    for name in files:
        for found in read(tmp_path / f"{name}.yaml"):
            if isinstance(found, Manifest):
                ours[name] = found.item["metadata"]["annotations"]["a"]
    texts = {name: value for name, value in ours.items() if value is None or isinstance(value, str)}
    different = {files[name]: value for name, value in files.items() if texts.get(name) != theirs.get(name)}
    assert different == {}
    assert len(theirs) > 100


def _written(file: Path, text: str) -> Path:
    file.write_bytes(text.encode())
    return file


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested deeper than 200 levels"),
        ('{"a":' * 100_000, "nested deeper than 200 levels"),
        (f"a: &a [{'x, ' * 100}]\nb: [{'*a, ' * 50_000}]\n", "aliases expand to more"),
        ("a: &a {b: *a}\n", "what contains it"),
        ("a: {{ .Values.a }}\n", "a key of a map is none"),
        ("a: [\n", "not YAML"),
    ],
)
def test_what_is_bounded_is_told_in_a_word(text: str, reason: str, tmp_path: Path) -> None:
    (found,) = read(_written(tmp_path / "a.yaml", text))
    assert isinstance(found, Unread)
    assert reason in found.reason


def test_a_file_that_is_too_large_is_not_read_into_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pullsecrets.policy.lint.reading.LARGEST", 1 << 20)
    (found,) = read(_written(tmp_path / "a.yaml", SECRET + "x: " + "a" * (1 << 20)))
    assert isinstance(found, Unread)
    assert found.reason == "it is larger than 1 MiB"


def test_what_follows_a_broken_document_is_read_and_lines_are_those_of_the_file(tmp_path: Path) -> None:
    text = FIRST + "---\na: {{ x }}\n---\n" + SECRET + "---\nb: [\n"
    found = list(read(_written(tmp_path / "a.yaml", text)))
    assert [part.line for part in found if isinstance(part, Unread)] == [5, 14]
    (_, manifest) = [part for part in found if isinstance(part, Manifest)]
    assert manifest.position(("metadata", "name")) == (10, 3)


def test_a_part_is_found_again_where_its_value_comes_from(tmp_path: Path) -> None:
    text = SECRET.replace("  name: pull-secret\n", "  name: a\n  name: pull-secret\n  <<: {labels: {a: b}}\n")
    (found,) = read(_written(tmp_path / "a.yaml", text))
    assert isinstance(found, Manifest)
    assert found.position(("metadata", "name")) == (5, 3)
    assert found.position(("metadata", "labels", "a")) == (6, 17)
    (found,) = read(
        _written(tmp_path / "a.json", (JSON % "Secret").replace("}}", ', "annotations": {"a": "\\ud83d"}}}'))
    )
    assert isinstance(found, Manifest)
    assert found.position(("metadata", "name"))[0] == 1


def test_both_parsers_are_the_same_to_lint() -> None:
    assert documents.Loader.__name__ == "CSafeLoader"

"""Images, keys and documents are read as the kubelet reads them.

`kubelet.json` holds what the kubelet's own code of Kubernetes 1.36.3 made of references, keys and documents that were
generated around each rule's edges. It was recorded with a Go program that reads them one by one and prints the answers
of `parsers.ParseImageName`, of `BasicDockerKeyring.Add` and `Lookup`, and of `encoding/json` into `DockerConfigJSON` or
`DockerConfig`; some 330,000 lookups, 120,000 images and 160,000 documents more were compared in the same way. A key
stands there beside its neighbours, because one that opens an image keeps the login of Docker Hub from being tried.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets import image
from pullsecrets.credential import keys, kubelet
from pullsecrets.credential.document import DockerConfig, RegistryLogin

VERDICTS: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("kubelet.json").read_text())
HOST = "registry.example.com"


@pytest.mark.parametrize("verdict", VERDICTS["images"], ids=lambda verdict: ascii(verdict["image"]))
def test_an_image_is_looked_up_by_the_same_name(verdict: dict[str, Any]) -> None:
    read = image.parse(verdict["image"])
    assert (read.name if read else None) == verdict["name"]


@pytest.mark.parametrize("verdict", VERDICTS["lookups"], ids=lambda verdict: ascii(verdict["image"]))
def test_the_same_keys_open_an_image_in_the_same_order(verdict: dict[str, Any]) -> None:
    assert keys.lookup([(key, key) for key in verdict["keys"]], verdict["image"]) == verdict["opens"]


@pytest.mark.parametrize("verdict", VERDICTS["documents"], ids=lambda verdict: ascii(verdict["document"])[:60])
def test_the_same_logins_are_in_a_document(verdict: dict[str, Any]) -> None:
    try:
        read = kubelet.read_logins(verdict["document"].encode(), old=verdict["old"])
    except kubelet.UnreadableError:
        assert verdict["logins"] is None
    else:
        assert {key: list(login) for key, login in read.items()} == verdict["logins"]


def test_keys_that_mean_the_same_are_all_tried() -> None:
    entries = {f"https://{HOST}": 1, HOST: 2, f"{HOST}/v2/": 3}
    assert sorted(keys.lookup(entries.items(), f"{HOST}/app")) == [1, 2, 3]


@given(st.text(), st.text())
def test_any_text_is_read_or_refused(key: str, reference: str) -> None:
    keys.lookup([(key, key)], reference)
    keys.lookup([(key, key)], f"{HOST}/a")
    assert isinstance(keys.opens_on(key, HOST), bool)
    assert "@" not in keys.host_of(f"bot:{key}@{HOST}")
    image.parse(reference)
    image.written_host(reference)


@given(st.binary() | st.text().map(lambda text: json.dumps({"auths": {text: {"auth": text}, "h": text}}).encode()))
def test_any_document_is_read_or_refused(document: bytes) -> None:
    for old in (False, True):
        with suppress(kubelet.UnreadableError):
            kubelet.read_logins(document, old=old)


@pytest.mark.parametrize("document", [b"canary", b'{"auths": "canary"}', b'{"auths": {"h": {"auth": "canary"}}}'])
def test_what_is_refused_is_not_shown(document: bytes) -> None:
    with pytest.raises(kubelet.UnreadableError) as raised:
        kubelet.read_logins(document)
    assert not str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf"]), min_size=1)
CANONICAL = st.builds(
    "{}{}".format,
    st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True), min_size=2, max_size=4).map(".".join)
    | st.ip_addresses(v=4).map(str),
    st.just("") | st.integers(1, 65535).map(":{}".format),
) | st.builds("[{}]:{}".format, st.ip_addresses(v=6).map(str), st.integers(1, 65535))


@given(st.dictionaries(CANONICAL, st.tuples(PLAIN.filter(lambda text: ":" not in text), PLAIN), min_size=1, max_size=3))
def test_what_we_write_the_kubelet_reads_and_uses(logins: dict[str, tuple[str, str]]) -> None:
    config = DockerConfig({host: RegistryLogin(user, password) for host, (user, password) in logins.items()})
    read = kubelet.read_logins(config.to_json().encode())
    assert read == logins
    for host, login in logins.items():
        assert image.host_problem(host) is None
        assert image.image_host(f"{host}/team/app:1") == host
        assert keys.lookup(read.items(), f"{host}/team/app:1") == [login]

"""A pull credential is checked before it is stored, and never shown."""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets import manifests, redaction
from pullsecrets.credential.document import DockerConfigError, content_digest, parse, require_hosts

HOST = "registry.example.com"
CANARY = "canary-that-must-not-be-shown"


def auth(user: str = "bot", password: str = CANARY) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def document(**entry: Any) -> str:
    return json.dumps({"auths": {HOST: entry or {"auth": auth()}}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{CANARY} {{", "not JSON at line 1 column 1"),
        (b"\xff\xfe" + CANARY.encode(), "not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        (f'"{CANARY}"', "found a str; allowed: a JSON object with auths"),
        ("{}", "auths: found nothing; allowed: at least one host"),
        ('{"auths": {}}', "auths: found nothing"),
        ('{"auths": [1]}', "auths: found nothing"),
        ('{"credsStore": "desktop"}', "credsStore keeps the credential outside the document"),
        ('{"auths": {"h": {}, "h": {}}}', "found a key twice"),
        (json.dumps({"auths": {f"https://{HOST}": {"auth": auth()}}}), "without scheme or path"),
        (json.dumps({"auths": {f"{HOST}/v1": {"auth": auth()}}}), "without scheme or path"),
        (json.dumps({"auths": {HOST: CANARY}}), f"auths['{HOST}']: found a str; allowed: an object with auth"),
        (document(auth=CANARY), "not base64 of user:password"),
        (document(auth=base64.b64encode(CANARY.encode()).decode()), "not base64 of user:password"),
        (document(auth=auth("", CANARY)), "no user or no password"),
        (document(auth=auth("bot", "")), "no user or no password"),
        (document(auth=auth(password=f"{CANARY}\n")), "a control character at the password's start or end"),
        (document(auth=auth(password=f"{CANARY}\r")), "a control character at the password's start or end"),
        (document(auth=auth(password=f"{CANARY}\t")), "a control character at the password's start or end"),
        (document(auth=auth(password=f"\n{CANARY}")), "a control character at the password's start or end"),
        (document(auth=auth(user=f"{CANARY}\nbot")), "a control character in user or password"),
        (document(username=f"{CANARY}\tbot", password=CANARY), "a control character in user or password"),
        (document(auth=auth(password=f"{CANARY}\n\x1b[2J{CANARY}")), "a control character in user or password"),
        (document(username="bot", password=f"{CANARY}\0"), "a control character in user or password"),
        (document(username="bot", password=f"{CANARY}\ud800"), ".password: found half of a surrogate pair"),
        (document(auth=auth(), email="\udfff"), ".email: found half of a surrogate pair"),
        (f'{{"auths": {"9" * 5000}, "x": "{CANARY}"}}', "a number of absurd length"),
        (json.dumps({"auths": {f"https://bot:{CANARY}@{HOST}": {}}}), f"found host '{HOST}'; allowed"),
        (json.dumps({"auths": {f"bot:{CANARY}@{HOST}": {}}}), f"found host '{HOST}'; allowed"),
        (document(auth=7), "auth: found a int; allowed: a string"),
        (document(auth=auth(), username="other"), "username or password differ from auth"),
        (document(auth=auth(), password="other"), "username or password differ from auth"),
        (document(identitytoken=CANARY), "found 'identitytoken'; allowed: auth, email, password, username"),
        (document(username="a:b", password=CANARY), "no user or no password"),
    ],
)
def test_an_unusable_document_is_refused_without_showing_it(text: str | bytes, expected: str) -> None:
    with pytest.raises(DockerConfigError) as raised:
        parse(text)
    assert expected in str(raised.value)
    assert CANARY not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["old.example.com"], "found 'old.example.com', a name that images do not use"),
        (["other.example.com"], "found 'other.example.com'; allowed for registry 'app': registry.example.com"),
        ([HOST, "docker.io"], "found 'docker.io'; allowed"),
    ],
)
def test_only_canonical_hosts_are_accepted(hosts: list[str], expected: str) -> None:
    config = parse(json.dumps({"auths": {host: {"auth": auth()} for host in hosts}}))
    with pytest.raises(DockerConfigError) as raised:
        require_hosts(config, [HOST], ["old.example.com"], "app")
    assert expected in str(raised.value)


def test_every_canonical_host_needs_a_login() -> None:
    with pytest.raises(DockerConfigError, match=r"no login for 'mirror\.example\.com'"):
        require_hosts(parse(document()), [HOST, "mirror.example.com"], [], "app")


def test_the_shape_of_the_seed_is_kept() -> None:
    stored = json.loads(parse(document(auth=auth(), email="platform-bot@example.com")).to_json())
    assert stored == {"auths": {HOST: {"auth": auth(), "email": "platform-bot@example.com"}}}


def test_user_and_password_become_auth() -> None:
    assert parse(document(username="bot", password=CANARY)).to_json() == parse(document()).to_json()


def test_a_key_file_is_a_password() -> None:
    key = json.dumps({"type": "service_account", "private_key": f"{CANARY}\n"}, indent="\t")
    for text in (document(username="_json_key", password=key), document(auth=auth("_json_key", key))):
        assert parse(text).logins[HOST].password == key


def test_of_a_key_file_no_line_is_left_in_a_log() -> None:
    key = json.dumps({"type": "service_account", "id": CANARY, "pem": f"{CANARY}-2"}, indent=2)
    parse(document(auth=auth("_json_key", key)))
    for line in (*key.splitlines(), *json.dumps(key).split("\\n")):
        assert CANARY not in redaction.redact(f"it said {line}")


def test_a_representation_shows_no_password() -> None:
    assert CANARY not in repr(parse(document()))


def test_the_digest_is_the_one_that_eso_computes() -> None:
    # `printf registry | sha256sum | cut -c 1-16`, which the template of `manifests` spells `sha256sum | trunc 16`.
    assert content_digest("registry") == "872491a30d60d598"
    assert manifests.CONTENT_DIGEST_TEMPLATE == "{{ .dockerconfigjson | sha256sum | trunc 16 }}"


printable = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), min_size=1)


@given(
    user=printable.filter(lambda text: ":" not in text),
    password=st.lists(printable, min_size=1, max_size=3).flatmap(
        lambda lines: st.sampled_from(["\n", "\r\n", "\t"]).map(lambda between: between.join(lines))
    ),
)
def test_any_login_survives_storing_and_reading(user: str, password: str) -> None:
    config = parse(document(auth=auth(user, password)))
    assert parse(config.to_json()) == config
    assert config.logins[HOST].username == user
    assert config.logins[HOST].password == password
    assert config.digest == content_digest(config.to_json())


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}\.example\.com", fullmatch=True), printable, min_size=1))
def test_the_stored_form_does_not_depend_on_the_order_of_hosts(passwords: dict[str, str]) -> None:
    entries = {host: {"auth": auth(password=password)} for host, password in passwords.items()}
    forward = json.dumps({"auths": entries})
    backward = json.dumps({"auths": dict(reversed(entries.items()))}, indent=2)
    assert parse(forward).digest == parse(backward).digest


@given(st.text() | st.binary())
def test_arbitrary_input_is_either_read_or_refused(text: str | bytes) -> None:
    with suppress(DockerConfigError):
        assert parse(text).hosts


secret_texts = st.sampled_from([CANARY, auth(), f"bot:{CANARY}", f"{CANARY}\n", f"{CANARY}\ud800", auth()[:-3]])
field_values = secret_texts | st.none() | st.integers() | st.lists(secret_texts, max_size=2)
field_names = st.sampled_from(["auth", "username", "password", "email", "identitytoken", "x"])
hosts = st.sampled_from(
    [HOST, f"https://{HOST}/v1/", f"bot:{CANARY}@{HOST}", f"https://bot:{CANARY}@{HOST}", "UPPER", ""]
)
entries = st.dictionaries(field_names, field_values, max_size=4) | field_values
documents = st.dictionaries(
    st.sampled_from(["auths", "credsStore", "credHelpers"]), st.dictionaries(hosts, entries, max_size=3) | field_values
)


@given(document=documents, cut=st.integers(0, 40), junk=st.sampled_from(["", "{", CANARY, "\0", "1" * 5000]))
def test_no_hostile_document_is_shown_by_what_refuses_it(document: dict[str, Any], cut: int, junk: str) -> None:
    text = json.dumps(document)
    for hostile in (text, text[:-cut] if cut else text, text + junk, json.dumps([text])):
        try:
            read = parse(hostile)
            shown = repr(read) if all(login.email is None for login in read.logins.values()) else ""
            assert parse(read.to_json()) == read
        except DockerConfigError as error:
            shown = f"{error!r} {error.__cause__!r} {error.__suppress_context__ or error.__context__!r}"
        assert CANARY not in shown
        assert auth()[:-3] not in shown

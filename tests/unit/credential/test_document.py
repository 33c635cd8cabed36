"""A pull credential is checked before it is stored, and never shown."""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets import redaction
from pullsecrets.credential import keys, kubelet
from pullsecrets.credential.document import (
    DockerConfigError,
    content_digest,
    parse,
    require_hosts,
    require_meant,
)
from pullsecrets.manifests import builders

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
        (f'"{CANARY}"', "found a string; allowed: a JSON object with auths"),
        ("null", "found null; allowed: a JSON object with auths"),
        ("7", "found a number; allowed: a JSON object with auths"),
        (base64.b64encode(f'{{"x": "{CANARY}"}}'.encode()), "found base64 of a document; allowed: the document itself"),
        (f'apiVersion: v1\nkind: Secret\ndata: {{a: "{CANARY}"}}\n', "found a Secret's manifest; allowed: its content"),
        (
            f'{{"kind": "Secret", "data": {{"a": "{CANARY}"}}}}',
            "found a Secret's manifest; allowed: its content, as `kub",
        ),
        (
            json.dumps({HOST: {"auth": auth()}}),
            "found a .dockercfg, which has no auths around its hosts; allowed: it in",
        ),
        ("{}", "auths: missing; expected at least one host"),
        ('{"auths": {}}', "auths: missing"),
        ('{"auths": [1]}', "auths: found a list; allowed: an object with hosts as keys"),
        (
            '{"credsStore": "desktop"}',
            "the credential store 'desktop' keeps it outside the document: use --from-docker",
        ),
        (
            json.dumps({"credsStore": "desktop", "auths": {HOST: {}}}),
            f"auths['{HOST}'].auth: found no user or no passwo",
        ),
        (json.dumps({"credsStore": "desktop", "auths": {HOST: {}}}), "the credential store 'desktop' keeps it outside"),
        (
            json.dumps({"credHelpers": {HOST: "ecr"}, "auths": {HOST: {}}}),
            "the credential store 'ecr' keeps it outside",
        ),
        ('{"auths": {"h": {}, "h": {}}}', "found a key twice"),
        (json.dumps({"auths": {f"{HOST}/team": {"auth": auth()}}}), f"found host '{HOST}/team'; allowed: a host with"),
        (
            json.dumps({"auths": {"*.example.com": {"auth": auth()}}}),
            "found host '*.example.com'; allowed: a host with",
        ),
        (json.dumps({"auths": {HOST.upper(): {"auth": auth()}}}), "in lower case"),
        (
            json.dumps({"auths": {"registry-1.docker.io": {"auth": auth()}}}),
            "allowed: 'docker.io', which the kubelet",
        ),
        (
            json.dumps({"auths": {HOST: {"auth": auth()}, f"https://{HOST}": {"auth": auth("x")}}}),
            "found two logins for",
        ),
        (json.dumps({"auths": {HOST: CANARY}}), f"auths['{HOST}']: found a string; allowed: an object with auth"),
        (json.dumps({"auths": {HOST: None}}), f"auths['{HOST}'].auth: found no user or no password"),
        (document(auth=HOST), f"auths['{HOST}'].auth: found text that is not base64"),
        (document(auth=auth(), Auth=auth("x")), "found a field twice, in capitals and not"),
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
        (f'{{"auths": {"9" * 5000}, "x": "{CANARY}"}}', "auths: found a number"),
        (json.dumps({"auths": {f"https://bot:{CANARY}@{HOST}": {}}}), f"found host '{HOST}'; allowed"),
        (json.dumps({"auths": {f"bot:{CANARY}@{HOST}": {}}}), f"found host '{HOST}'; allowed"),
        (document(auth=7), "auth: found a number; allowed: a string"),
        (document(auth=auth(), username="other"), "username or password differ from auth"),
        (document(auth=auth(), password="other"), "username or password differ from auth"),
        (
            document(identitytoken=CANARY),
            "found identitytoken alone, which the kubelet cannot use; allowed: user and p",
        ),
        (document(registrytoken=CANARY, auth=""), "found registrytoken alone, which the kubelet cannot use"),
        (
            document(username="a:b", password=CANARY),
            ".username: found a colon, where the kubelet would cut the name",
        ),
    ],
)
def test_an_unusable_document_is_refused_without_showing_it(text: str | bytes, expected: str) -> None:
    with pytest.raises(DockerConfigError) as raised:
        parse(text)
    assert expected in str(raised.value)
    assert CANARY not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


KEY_FILE = json.dumps({"type": "service_account", "private_key": f"{CANARY}\n"}, indent=2)
LONG = base64.b64encode(b"bot:" + b"p" * 120).decode()


@pytest.mark.parametrize(
    ("entry", "note"),
    [
        ({"auth": auth(password=f"{CANARY}x").rstrip("=")}, f"auth of '{HOST}' is stored in one line, padded"),
        ({"auth": f"{auth()}\n"}, f"auth of '{HOST}' is stored in one line, padded"),
        ({"auth": f"{LONG[:76]}\r\n{LONG[76:]}\n"}, f"auth of '{HOST}' is stored in one line, padded"),
        ({"auth": auth(), "username": "", "password": ""}, f"left out of '{HOST}': password, username"),
        ({"auth": auth(), "email": None}, f"left out of '{HOST}': email"),
        ({"auth": auth(), "serveraddress": HOST}, f"left out of '{HOST}': serveraddress"),
        ({"auth": auth(), "identitytoken": CANARY}, f"left out of '{HOST}': identitytoken"),
        ({"auth": auth(), CANARY: CANARY}, f"left out of '{HOST}': fields that the kubelet does not read"),
        ({"auth": auth("_json_key", f"{KEY_FILE}\n")}, f"the final newline of the key file for '{HOST}' is left out"),
        ({"username": "_json_key", "password": f"{KEY_FILE}\r\n"}, f"the final newline of the key file for '{HOST}'"),
    ],
)
def test_what_the_kubelet_takes_is_taken_and_stored_in_one_form(entry: dict[str, Any], note: str) -> None:
    read = parse(document(**entry))
    ((said),) = read.notes
    assert said.startswith(note)
    assert CANARY not in said
    assert [*json.loads(read.to_json())["auths"][HOST]] == ["auth"]
    assert parse(read.to_json()) == read
    assert parse(read.to_json()).notes == ()
    login = read.logins[HOST]
    assert kubelet.read_logins(read.to_json().encode()) == {HOST: (login.username, login.password)}


@pytest.mark.parametrize(
    ("key", "host"),
    [
        (f"https://{HOST}", HOST),
        (f"http://{HOST}/", HOST),
        (f"https://{HOST}/v1/", HOST),
        (f"{HOST}/v2", HOST),
        (f"{HOST}:5000/v2/", f"{HOST}:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("https://[fc00::1]:5000/", "[fc00::1]:5000"),
    ],
)
def test_a_key_is_stored_as_the_host_that_images_name(key: str, host: str) -> None:
    read = parse(json.dumps({"auths": {key: {"auth": auth()}}}))
    assert read.hosts == (host,)
    assert read.notes == (f"{key!r} is stored as {host!r}",)
    assert keys.opens(host, f"{host}/team/app")


@pytest.mark.parametrize(
    ("user", "password", "found"),
    [
        ("bot", f"\ufeff{CANARY}", "the password is or has an invisible character (U+FEFF)"),
        ("b\u200bot", CANARY, "the user is or has an invisible character (U+200B)"),
        ("bot", f"{CANARY}\u2060", "an invisible character (U+2060)"),
        ("bot", "   ", "the password is or has nothing but blanks"),
        ("bot", "\u00a0", "nothing but blanks"),
        ("${USER}", "${PASSWORD}", "the user is or has a variable that nothing has filled in"),
        ("bot", "$PASSWORD", "a variable that nothing has filled in"),
        ("bot", "%PASSWORD%", "a variable that nothing has filled in"),
        ("bot", "$(cat password)", "a variable that nothing has filled in"),
        ("bot", "{{ .password }}", "a variable that nothing has filled in"),
        ("bot", f"'{CANARY}'", "the password is or has quotes around it, which a shell kept"),
        ('"bot"', CANARY, "the user is or has quotes around it"),
        ('"bot', f'{CANARY}"', "quotes around it"),
        ("bot", HOST, "the password is or has the name of the host"),
    ],
)
def test_what_nobody_means_to_store_is_refused_with_what_was_found(user: str, password: str, found: str) -> None:
    config = parse(document(auth=auth(user, password)))
    with pytest.raises(DockerConfigError) as raised:
        require_meant(config)
    assert found in str(raised.value)
    assert "--as-is where it is meant so" in str(raised.value)
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("$oauthtoken", CANARY),
        ("robot$team+ci", "a$B{c}%d"),
        ("bot", "'"),
        ("bot", f"'{CANARY}"),
        ("bot", f"{CANARY} with blanks "),
        ("_json_key", KEY_FILE),
        ("bü", "pässwörd€"),
        ("AWS", "100%SURE"),
    ],
)
def test_what_registries_give_out_is_meant(user: str, password: str) -> None:
    require_meant(parse(document(auth=auth(user, password))))


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
    assert builders.CONTENT_DIGEST_TEMPLATE == "{{ .dockerconfigjson | sha256sum | trunc 16 }}"


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
stores = st.sampled_from(["desktop", "ecr-login"])
documents = st.fixed_dictionaries(
    {},
    optional={
        "auths": st.dictionaries(hosts, entries, max_size=3) | field_values,
        "credsStore": stores | st.none() | st.integers(),
        "credHelpers": st.dictionaries(hosts, stores | st.none()) | st.lists(secret_texts),
        "x": field_values,
    },
)


@given(document=documents, cut=st.integers(0, 40), junk=st.sampled_from(["", "{", CANARY, "\0", "1" * 5000]))
def test_no_hostile_document_is_shown_by_what_refuses_it(document: dict[str, Any], cut: int, junk: str) -> None:
    text = json.dumps(document)
    for hostile in (text, text[:-cut] if cut else text, text + junk, json.dumps([text])):
        try:
            read = parse(hostile)
            shown = repr(read) if all(login.email is None for login in read.logins.values()) else str(read.notes)
            assert parse(read.to_json()) == read
        except DockerConfigError as error:
            shown = f"{error!r} {error.__cause__!r} {error.__suppress_context__ or error.__context__!r}"
        assert CANARY not in shown
        assert auth()[:-3] not in shown

"""Each runtime's words for a failed pull mean one cause, and digits in names are no status codes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullsecrets.doctor.checks.pod import ADVICE
from pullsecrets.kube.pull_failure import TABLE, Cause, PullFailure, as_judged, read_pull_failure
from tests.node.messages import seen

IMAGE = "registry.example.com/team/auth:1"
CONTAINERD = f'Failed to pull image "{IMAGE}": failed to pull and unpack image "{IMAGE}": failed to resolve image: '
CRIO = f'Failed to pull image "{IMAGE}": unable to pull image or OCI artifact: initializing source docker://{IMAGE}: '
READING = f"{CRIO}reading manifest 1 in registry.example.com/team/auth: "
DENIED = "pull access denied, repository does not exist or may require authorization: "
URL = "https://registry.example.com/v2/team/auth/manifests/1"

MESSAGES = [
    (CONTAINERD + DENIED + "authorization failed: no basic auth credentials", Cause.NO_LOGIN),
    (CONTAINERD + DENIED + "server message: insufficient_scope: authorization failed", Cause.ABSENT_OR_FORBIDDEN),
    (CONTAINERD + f"unexpected status from HEAD request to {URL}: 401 Unauthorized", Cause.LOGIN_REFUSED),
    (CONTAINERD + f"unexpected status from HEAD request to {URL}: 403 Forbidden", Cause.ABSENT_OR_FORBIDDEN),
    (
        CONTAINERD + "failed to authorize: failed to fetch oauth token: unexpected status from POST request to "
        "https://auth.example.com/token: 403 Forbidden",
        Cause.LOGIN_REFUSED,
    ),
    (CONTAINERD + f"{IMAGE}: not found", Cause.ABSENT),
    (CONTAINERD + f"unexpected status from GET request to {URL}: 429 Too Many Requests", Cause.RATE_LIMITED),
    (CONTAINERD + f"unexpected status from HEAD request to {URL}: 503 Service Unavailable", Cause.UNAVAILABLE),
    (
        CONTAINERD + f'Head "{URL}": tls: failed to verify certificate: x509: expired',
        Cause.CERTIFICATE,
    ),
    (CONTAINERD + f'Head "{URL}": http: server gave HTTP response to HTTPS client', Cause.PLAIN_HTTP),
    ("Client sent an HTTP request to an HTTPS server.", Cause.TLS_WANTED),
    (CONTAINERD + f'Head "{URL}": dial tcp: lookup registry.example.com on 10.0.0.10:53: no such host', Cause.NAME),
    (CONTAINERD + f'Head "{URL}": dial tcp 10.0.0.1:443: connect: connection refused', Cause.UNREACHED),
    (CONTAINERD + f'Head "{URL}": dial tcp 10.0.0.1:443: i/o timeout', Cause.TIMEOUT),
    (CONTAINERD + f'Head "{URL}": read tcp 10.0.0.2:4->10.0.0.1:443: read: connection reset by peer', Cause.RESET),
    ("failed to extract layer: write /var/lib/x: no space left on device", Cause.NO_SPACE),
    ("no match for platform in manifest sha256:4040: not found", Cause.PLATFORM),
    ("unexpected commit digest sha256:401, expected sha256:429: failed precondition", Cause.DIGEST),
    ("illegal base64 data at input byte 4", Cause.UNDECODABLE),
    (CRIO + "unable to retrieve auth token: invalid username/password: unauthorized: wrong", Cause.LOGIN_REFUSED),
    (READING + "manifest unknown", Cause.ABSENT),
    (READING + "too many requests to registry", Cause.RATE_LIMITED),
    (
        READING + "unauthorized: authentication required",
        Cause.LOGIN_REFUSED,
    ),
    (
        READING + "requested access to the resource is denied",
        Cause.ABSENT_OR_FORBIDDEN,
    ),
    ("copying system image: no image found in image index for architecture arm64", Cause.PLATFORM),
    (
        "SignatureValidationFailed: Source image rejected: A signature was required",
        Cause.SIGNATURE,
    ),
    ("RegistryUnavailable: image pull failed for registry.example.com/team/auth:1", Cause.UNAVAILABLE),
    (
        (
            "Error response from daemon: pull access denied for team/auth, repository does not exist or may "
            "require 'docker login': denied: requested access to the resource is denied"
        ),
        Cause.ABSENT_OR_FORBIDDEN,
    ),
    ("toomanyrequests: You have reached your pull rate limit.", Cause.RATE_LIMITED),
    (f'Container image "{IMAGE}" is not present with pull policy of Never', Cause.NEVER),
    (
        'Failed to apply default image tag "Team/Auth": couldn\'t parse image name: invalid reference format',
        Cause.INVALID_NAME,
    ),
    ('Failed to inspect image "": rpc error: code = Unavailable', Cause.UNINSPECTED),
    ("ImageInspectError: rpc error", Cause.UNINSPECTED),
    ("ErrImageNeverPull: ", Cause.NEVER),
    ("InvalidImageName: ", Cause.INVALID_NAME),
    ("unable to parse auth field, must be formatted as base64(username:password)", Cause.UNDECODABLE),
    ("unexpected end of JSON input", Cause.UNDECODABLE),
    ("invalid character 'x' looking for beginning of value", Cause.UNDECODABLE),
    ("json: cannot unmarshal string into Go value of type credentialprovider.DockerConfigJSON", Cause.UNDECODABLE),
    (f"SignatureValidationFailed: Running image docker://{IMAGE} is rejected by policy.", Cause.SIGNATURE),
    ("Error response from daemon: too many requests", Cause.RATE_LIMITED),
    (CONTAINERD + f'Head "{URL}": tls: first record does not look like a TLS handshake', Cause.PLAIN_HTTP),
    (CONTAINERD + 'net/http: HTTP/1.x transport connection broken: malformed HTTP response "\\x15"', Cause.TLS_WANTED),
    (CONTAINERD + f'Head "{URL}": remote error: tls: bad certificate', Cause.CERTIFICATE),
    (CONTAINERD + f'Head "{URL}": remote error: tls: certificate required', Cause.CERTIFICATE),
    (CONTAINERD + "dial tcp: lookup registry.example.com on 10.0.0.10:53: server misbehaving", Cause.NAME),
    (CONTAINERD + "dial tcp: lookup registry.example.com: Temporary failure in name resolution", Cause.NAME),
    ("failed to extract layer: write /var/lib/x: disk quota exceeded", Cause.NO_SPACE),
    ("unexpected commit size 401, expected 429: failed precondition", Cause.DIGEST),
    ('"layer-sha256:401" failed size validation: 401 != 429: failed precondition', Cause.DIGEST),
    (READING + "manifest does not match provided manifest digest sha256:401", Cause.DIGEST),
    ("filesystem layer verification failed: digest mismatch", Cause.DIGEST),
    ("writing blob: Digest did not match, expected sha256:401, got sha256:429", Cause.DIGEST),
    ("no matching manifest for linux/arm64 in the manifest list entries", Cause.PLATFORM),
    (CONTAINERD + f'Head "{URL}": context deadline exceeded', Cause.TIMEOUT),
    (CONTAINERD + f'Head "{URL}": net/http: TLS handshake timeout', Cause.TIMEOUT),
    (CONTAINERD + f'Get "{URL}": request canceled (Client.Timeout exceeded while awaiting headers)', Cause.TIMEOUT),
    (CONTAINERD + "write tcp 10.0.0.2:4->10.0.0.1:443: write: broken pipe", Cause.RESET),
    ("copying system image: reading blob: unexpected EOF", Cause.RESET),
    (CONTAINERD + f'failed to do request: Head "{URL}": EOF', Cause.RESET),
    (CONTAINERD + "http: server closed idle connection", Cause.RESET),
    (CONTAINERD + f'Head "{URL}": dial tcp 10.0.0.1:443: connect: no route to host', Cause.UNREACHED),
    (CONTAINERD + f'Head "{URL}": dial tcp 10.0.0.1:443: connect: network is unreachable', Cause.UNREACHED),
    ("Error response from daemon: unauthorized: incorrect username or password", Cause.LOGIN_REFUSED),
    (CONTAINERD + "invalid_token: authorization failed", Cause.LOGIN_REFUSED),
    (CONTAINERD + f"unexpected status from HEAD request to {URL}: 404 Not Found", Cause.ABSENT),
    (READING + "name unknown: The repository with name team/auth does not exist", Cause.ABSENT),
    (READING + "repository name not known to registry", Cause.ABSENT),
    (READING + "unknown: artifact team/auth:1 not found: artifact not found", Cause.ABSENT),
    (READING + "received unexpected HTTP status: 502 Bad Gateway", Cause.UNAVAILABLE),
    ("Error response from daemon: service unavailable", Cause.UNAVAILABLE),
    (CRIO + "registry registry.example.com is blocked in /etc/containers/registries.conf", Cause.BLOCKED),
]


@pytest.mark.parametrize(("message", "cause"), MESSAGES)
def test_a_message_means_one_cause(message: str, cause: Cause) -> None:
    assert read_pull_failure(message) == PullFailure(cause)


@pytest.mark.parametrize("words", [(cause, words) for cause, all_words in TABLE for words in all_words])
def test_every_words_of_the_table_are_in_a_message_here(words: tuple[Cause, str]) -> None:
    said = re.compile(words[1], re.IGNORECASE | re.DOTALL)
    assert any(cause is words[0] and said.search(as_judged(message)) for message, cause in MESSAGES)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("no credentials", Cause.NO_LOGIN),
        ("login refused", Cause.LOGIN_REFUSED),
        ("no token", Cause.LOGIN_REFUSED),
        ("too many requests", Cause.RATE_LIMITED),
        ("unavailable", Cause.UNAVAILABLE),
        ("certificate expired", Cause.CERTIFICATE),
        ("plain HTTP", Cause.PLAIN_HTTP),
        ("no such image", Cause.ABSENT),
        ("undecodable Secret in the list", Cause.UNDECODABLE),
        ("cached, without the reference", Cause.NEVER),
    ],
)
def test_what_the_real_node_said_of_each_fault(fault: str, cause: Cause) -> None:
    assert read_pull_failure(seen(fault)) == PullFailure(cause)


@pytest.mark.parametrize("message", ["", "Back-off pulling image", "ErrImagePull: something new"])
def test_what_tells_nothing_is_not_guessed(message: str) -> None:
    assert read_pull_failure(message) is None


@given(st.sampled_from(["401", "403", "404", "429", "503"]), st.sampled_from(MESSAGES))
def test_digits_in_tags_and_digests_change_nothing(digits: str, row: tuple[str, Cause]) -> None:
    message, cause = row
    for image in (
        f"registry.example.com/team/auth:{digits}",
        f"registry.example.com:{digits}/team/auth@sha256:{digits}a",
    ):
        assert read_pull_failure(message.replace(IMAGE, image)) == PullFailure(cause)
    assert read_pull_failure(f"Back-off pulling image registry.example.com/team/auth:{digits}") is None


MIRRORED = "(Mirrors also failed: [mirror.example.com/team/auth:1: reading manifest 1: {mirror}]): {image}: {source}"


@pytest.mark.parametrize(
    ("mirror", "source", "expected"),
    [
        (
            "unauthorized: authentication required",
            "registry registry.example.com is blocked in /etc/containers/registries.conf",
            PullFailure(Cause.LOGIN_REFUSED, mirror=True),
        ),
        ("manifest unknown", "pinging container registry: no such host", PullFailure(Cause.NAME)),
        ("something new", "is blocked in /etc/containers/registries.conf", PullFailure(Cause.BLOCKED, mirror=True)),
    ],
)
def test_a_mirrors_words_count_where_the_source_was_not_asked(mirror: str, source: str, expected: PullFailure) -> None:
    assert read_pull_failure(CRIO + MIRRORED.format(mirror=mirror, image=IMAGE, source=source)) == expected


def test_every_cause_has_a_message_here_and_an_advice_of_its_own() -> None:
    assert {cause for _, cause in MESSAGES} == set(Cause) == set(ADVICE)
    assert len({advice.cause for advice in ADVICE.values()}) == len(ADVICE)

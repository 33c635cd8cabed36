"""Why a pull failed, read from what the kubelet says of it: one table for all runtimes.

Each row names where its words are written: the kubelet and its credential providers of Kubernetes v1.36.3, containerd
v2.4.2, and containers/image, which CRI-O pulls with. Numbers in digests, tags and URLs are never status codes: a status
counts only where the runtime says that it is one.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

PULL_FAILURES = frozenset(
    {
        # pkg/kubelet/images/types.go
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "ImageInspectError",
        "InvalidImageName",
        # k8s.io/cri-api pkg/errors/errors.go
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
"""Waiting reasons of a container whose image the kubelet does not get."""


class Cause(StrEnum):
    """What keeps an image from a node."""

    NO_LOGIN = "no login was sent"
    LOGIN_REFUSED = "login refused"
    ABSENT_OR_FORBIDDEN = "not there, or no right to it"
    ABSENT = "not there"
    RATE_LIMITED = "rate limited"
    CERTIFICATE = "certificate not trusted"
    PLAIN_HTTP = "plain HTTP where TLS was spoken"
    TLS_WANTED = "TLS where plain HTTP was spoken"
    NAME = "name does not resolve"
    UNREACHED = "registry not reached"
    RESET = "connection reset"
    TIMEOUT = "time out"
    NO_SPACE = "no space on the node"
    SIGNATURE = "signature policy"
    UNDECODABLE = "undecodable Secret in the Pod's list"
    PLATFORM = "no image for the node's platform"
    DIGEST = "content other than its digest"
    UNAVAILABLE = "registry unavailable"
    BLOCKED = "registry blocked on the node"
    NEVER = "never pulled"
    INVALID_NAME = "no image name"
    UNINSPECTED = "image not inspected"


TABLE: tuple[tuple[Cause, tuple[str, ...]], ...] = (
    # kubelet: pkg/kubelet/images/image_manager.go, imageNotPresentOnNeverPolicyError and EnsureImageExists
    (Cause.NEVER, ("is not present with pull policy of Never", "ErrImageNeverPull")),
    (Cause.INVALID_NAME, ("Failed to apply default image tag", "invalid reference format", "InvalidImageName")),
    (Cause.UNINSPECTED, ("Failed to inspect image", "ImageInspectError")),
    # kubelet: pkg/credentialprovider/secrets/secrets.go, secretsToTrackedDockerConfigs, and config.go beside it
    (
        Cause.UNDECODABLE,
        (
            "illegal base64 data",
            "unable to parse auth field",
            "unexpected end of JSON input",
            "invalid character '.*' (?:looking|after|in)",
            "json: cannot unmarshal",
        ),
    ),
    # containers/image: copy/single.go, copySingleImage; CRI-O puts the CRI's reason before it.
    (
        Cause.SIGNATURE,
        ("SignatureValidationFailed", "Source image rejected", "A signature was required", "is rejected by policy"),
    ),
    # containerd: core/remotes/docker/authorizer.go, AddResponses
    (Cause.NO_LOGIN, ("no basic auth credentials",)),
    # containers/image: docker/errors.go, ErrTooManyRequests; TOOMANYREQUESTS of the OCI distribution specification
    (Cause.RATE_LIMITED, ("toomanyrequests", "too many requests", "<status 429>")),
    # Go: net/http transport.go and server.go
    (
        Cause.PLAIN_HTTP,
        ("server gave HTTP response to HTTPS client", "first record does not look like a TLS handshake"),
    ),
    (Cause.TLS_WANTED, ("sent an HTTP request to an HTTPS server", "malformed HTTP (?:response|status code)")),
    # Go: crypto/x509 verify.go, crypto/tls common.go and alert.go
    (
        Cause.CERTIFICATE,
        (
            "x509:",
            "failed to verify certificate",
            "tls: (?:bad certificate|unknown certificate)",
            "certificate required",
        ),
    ),
    # Go: net dnsclient_unix.go
    (Cause.NAME, ("no such host", "server misbehaving", "Temporary failure in name resolution")),
    (Cause.NO_SPACE, ("no space left on device", "disk quota exceeded")),
    # containerd: plugins/content/local/writer.go, Commit; containers/image: digestingReader.Read
    (
        Cause.DIGEST,
        (
            "unexpected commit (?:digest|size)",
            "failed size validation",
            "does not match (?:provided manifest )?digest",
            "digest mismatch",
            "Digest did not match",
        ),
    ),
    # containerd: core/images/image.go, Manifest; containers/image: chooseInstance of an OCI index
    (
        Cause.PLATFORM,
        ("no match for platform", "no matching manifest for", "no image found in (?:image index|manifest list)"),
    ),
    # Go: net/http, net
    (Cause.TIMEOUT, ("i/o timeout", "deadline exceeded", "TLS handshake timeout", r"Client\.Timeout")),
    (
        Cause.RESET,
        ("connection reset by peer", "broken pipe", "unexpected EOF", ": EOF$", "server closed idle connection"),
    ),
    (Cause.UNREACHED, ("connection refused", "no route to host", "network is unreachable")),
    # containerd: core/remotes/docker/auth/fetch.go; containers/image: docker/errors.go, ErrUnauthorizedForCredentials
    (
        Cause.LOGIN_REFUSED,
        (
            "invalid username/password",
            "incorrect username or password",
            "fetch (?:oauth|anonymous) token.*<status 40[13]>",
        ),
    ),
    # containerd: core/remotes/docker/resolver.go, Resolve; `denied` is the code of the OCI distribution specification
    (
        Cause.ABSENT_OR_FORBIDDEN,
        (
            "repository does not exist or may require",
            "insufficient_scope",
            "requested access to the resource is denied",
            "<status 403>",
            r"\bdenied:",
        ),
    ),
    (
        Cause.LOGIN_REFUSED,
        ("<status 401>", "unauthorized", "authentication required", "invalid_token", "authorization failed"),
    ),
    # OCI distribution specification: MANIFEST_UNKNOWN, NAME_UNKNOWN; containerd: core/remotes/docker/resolver.go
    (
        Cause.ABSENT,
        (
            "manifest unknown",
            "name unknown",
            "repository name not known",
            "artifact not found",
            "<status 404>",
            ": not found",
        ),
    ),
    # kubelet: evalCRIPullErr of image_manager.go
    (Cause.UNAVAILABLE, ("RegistryUnavailable", r"<status 5\d\d>", "service unavailable", "bad gateway")),
    # containers/image: docker/docker_image_src.go, newImageSource
    (Cause.BLOCKED, (r"is blocked in .*registries\.conf",)),
)
"""Most telling first: what a runtime wraps around another's words says less than they do."""

_ROWS = tuple((cause, re.compile("|".join(words), re.IGNORECASE | re.DOTALL)) for cause, words in TABLE)

# containers/image: docker/docker_image_src.go, newImageSource
_MIRRORS = re.compile(r"\(Mirrors also failed: (?P<mirrors>\[.*\])\): (?P<rest>.*)", re.DOTALL)
# containerd: core/remotes/errors/errors.go; containers/image: docker/errors.go; Docker: registry/client/errors.go
_STATUS = re.compile(
    r"(?:unexpected status from \S+ request to \S+: |(?:status|status code|StatusCode):? )(?P<code>[1-5]\d\d)\b",
    re.IGNORECASE,
)
# What stands in quotes, a URL, an image of a host with its tag, or a digest tells nothing of the outcome.
_NAMES = re.compile(
    r"\"[^\"\s]+\"|https?://[^\s\"]+|\b[\w-]+(?:[.:][\w-]+)+(?:/[\w.-]+)+(?::[\w.-]+)?(?:@sha256:\w+)?|\bsha256:\w+"
)


LASTING = frozenset(
    {
        Cause.NO_LOGIN,
        Cause.LOGIN_REFUSED,
        Cause.ABSENT_OR_FORBIDDEN,
        Cause.ABSENT,
        Cause.SIGNATURE,
        Cause.UNDECODABLE,
        Cause.PLATFORM,
        Cause.INVALID_NAME,
        Cause.NEVER,
    }
)
"""What fails again however often the kubelet tries."""


@dataclass(frozen=True)
class PullFailure:
    """What one message says."""

    cause: Cause
    mirror: bool = False
    """Whether it was judged by what a mirror said: the namespace's Secret is not used there."""


def read_pull_failure(message: str) -> PullFailure | None:
    """Return why a pull failed; None when the message does not tell."""
    split = _MIRRORS.search(message)
    if split is None:
        cause = _cause(message)
        return PullFailure(cause) if cause else None
    cause = _cause(split["rest"])
    # A blocked source was to be pulled from its mirrors alone, so what they said is the cause.
    if cause and cause is not Cause.BLOCKED:
        return PullFailure(cause)
    return PullFailure(_cause(split["mirrors"]) or Cause.BLOCKED, mirror=True)


def as_judged(message: str) -> str:
    """Return a message as the table reads it: status codes marked as such, and no names, which may hold any number."""
    return _NAMES.sub("", _STATUS.sub(lambda found: f"<status {found['code']}>", message))


def _cause(message: str) -> Cause | None:
    text = as_judged(message)
    return next((cause for cause, words in _ROWS if words.search(text)), None)

"""What Pulumi prints of a backend that it cannot use becomes one sentence with the fix; its words are as they came."""

import pytest

from pullsecrets.errors import BadInputError, ConflictError, PullSecretsError, UnreachableError
from pullsecrets.fleet.backend import refusal

LOCKED = """\
error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the lock file\
 with `pulumi cancel`.
  s3://state/.pulumi/locks/organization/pull-secrets/dev/7582d47f.json?region=us-east-1: created by ci@runner\
 (pid 15852) at 2026-11-27T23:34:21Z
"""
S3 = 'error: read ".pulumi/meta.yaml": blob (key ".pulumi/meta.yaml") (code=Unknown): operation error S3: GetObject, '
POSTGRES = "error: unable to open bucket postgres://pulumi:canary@127.0.0.1:5432/state: failed to ping PostgreSQL: "
REFUSED = "the backend refuses the login; give it one that may read and write the state"
ABSENT = "the backend is not there; make the bucket, database or folder"
SILENT = "the backend does not answer; see that its server runs"
PASSPHRASE = "the passphrase of its state is missing, or another; set PULUMI_CONFIG_PASSPHRASE"
SAID = [
    (LOCKED, ConflictError, "another run holds it (ci@runner (pid 15852) at 2026-11-27T23:34:21Z); wait for it; if it"),
    (f"{S3}https response error StatusCode: 403, api error SignatureDoesNotMatch: ...", UnreachableError, REFUSED),
    (f"{S3}get identity: get credentials: failed to refresh cached credentials, ...", UnreachableError, REFUSED),
    (f'{POSTGRES}pq: password authentication failed for user "pulumi" (28P01)', UnreachableError, REFUSED),
    ("error: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions", UnreachableError, REFUSED),
    (
        "error: could not list bucket: blob (code=NotFound): operation error S3: ..., NoSuchBucket: ...",
        BadInputError,
        ABSENT,
    ),
    (f'{POSTGRES}pq: database "state" does not exist (3D000)', BadInputError, ABSENT),
    (
        "error: unable to open bucket file:///state?no_tmp_dir=true: stat /state: no such file or directory",
        BadInputError,
        ABSENT,
    ),
    (f"{S3}exceeded maximum number of attempts, 3, ... connect: connection refused", UnreachableError, SILENT),
    (f"{POSTGRES}dial tcp 127.0.0.1:5432: connect: connection refused", UnreachableError, SILENT),
    (
        'error: performing HTTP request: Get "https://127.0.0.1:7072/api/user": dial tcp: connect: connection refused',
        UnreachableError,
        SILENT,
    ),
    ("error: getting stack configuration: get stack secrets manager: incorrect passphrase", BadInputError, PASSPHRASE),
    (
        "error: ... passphrase must be set with PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE",
        BadInputError,
        PASSPHRASE,
    ),
]


@pytest.mark.parametrize(("printed", "error", "told"), SAID)
def test_it_names_the_stack_the_cause_and_the_fix(printed: str, error: type[PullSecretsError], told: str) -> None:
    found = refusal(printed, "dev")
    assert type(found) is error
    assert str(found).startswith(f"stack dev: {told}")


def test_a_lock_is_freed_by_the_command_that_it_names() -> None:
    assert str(refusal(LOCKED, "dev")).endswith("`pulumi cancel --stack dev`")


@pytest.mark.parametrize("printed", [printed for printed, _, _ in SAID])
def test_the_password_of_a_backends_address_is_not_repeated(printed: str) -> None:
    assert "canary" not in str(refusal(printed, "dev"))


@pytest.mark.parametrize(
    "printed",
    [
        "error: no stack named 'dev' found",
        "error: update failed",
        'error: Get "https://127.0.0.1:6443/api": dial tcp 127.0.0.1:6443: connect: connection refused',
        "error: open /home/ci/.kube/config: no such file or directory",
    ],
)
def test_what_is_said_of_others_is_left_to_who_asked(printed: str) -> None:
    assert refusal(printed, "dev") is None

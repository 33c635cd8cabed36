"""What permanently refuses a write in the cluster: a quota, a policy or a webhook, from the API server's message."""

import re
from dataclasses import dataclass
from enum import StrEnum

from pullsecrets.redaction import redact


class Refuser(StrEnum):
    """Kinds of admission that a namespace's owner or a company's platform team sets up."""

    QUOTA = "ResourceQuota"
    POLICY = "admission policy"
    WEBHOOK = "admission webhook"
    BROKEN_WEBHOOK = "admission webhook that does not answer"
    TERMINATION = "namespace in deletion"
    RIGHTS = "RBAC"


@dataclass(frozen=True)
class Refusal:
    """Which of them refused, and why."""

    refuser: Refuser
    name: str
    """The quota, policy, webhook or namespace; with RBAC the user who lacks the right."""
    message: str
    """What it said, in one line."""

    def __str__(self) -> str:
        """Name who refused, for messages."""
        return f"{self.refuser} {self.name!r}"


# As k8s.io/apiserver v0.36.3 writes them. Most telling first: a webhook may quote any of the others.
_WORDS = (
    # pkg/admission/plugin/webhook/errors/statuserror.go, ToStatusErr
    (Refuser.WEBHOOK, re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request(?P<message>.*)', re.DOTALL)),
    # pkg/util/webhook/error.go, ErrCallingWebhook
    (Refuser.BROKEN_WEBHOOK, re.compile(r'failed calling webhook "(?P<name>[^"]+)"(?P<message>.*)', re.DOTALL)),
    # pkg/admission/plugin/policy/validating/dispatcher.go and policy/generic/policy_dispatcher.go
    (
        Refuser.POLICY,
        re.compile(
            r"""[pP]olicy ['"](?P<name>[^'"]+)['"](?: with binding '[^']+')? denied request: (?P<message>.*)""",
            re.DOTALL,
        ),
    ),
    # pkg/admission/plugin/resourcequota/controller.go, CheckRequest
    (Refuser.QUOTA, re.compile(r"(?:exceeded|failed) quota: (?P<name>[\w.-]+)[,:] ?(?P<message>.*)", re.DOTALL)),
    (Refuser.QUOTA, re.compile(r"insufficient quota to (?:consume|match these scopes): (?P<message>(?P<name>.*))")),
    # pkg/admission/plugin/namespace/lifecycle/admission.go
    (
        Refuser.TERMINATION,
        re.compile(r"(?P<message>unable to create new content in namespace (?P<name>\S+) because .*)"),
    ),
    # pkg/endpoints/handlers/responsewriters/errors.go, ForbiddenStatusError
    (Refuser.RIGHTS, re.compile(r'User "(?P<name>[^"]+)" (?P<message>cannot \w+ resource .*)', re.DOTALL)),
)


def read_refusal(message: str) -> Refusal | None:
    """Return who refused a write; None when the message names nobody, as that of a write in between."""
    for refuser, words in _WORDS:
        if found := words.search(message):
            return Refusal(refuser, found["name"], " ".join(redact(found["message"]).split()).strip(": "))
    return None

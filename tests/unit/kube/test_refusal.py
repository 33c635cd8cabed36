"""Who refuses a write, read from the words that the API server has for it."""

import pytest

from pullsecrets.kube.refusal import Refuser, read_refusal

V = "v.example.com"
QUOTA = "exceeded quota: small, requested: secrets=1, used: secrets=4, limited: secrets=4"


@pytest.mark.parametrize(
    ("message", "refuser", "name", "told"),
    [
        (f'secrets "app" is forbidden: {QUOTA}', Refuser.QUOTA, "small", "requested: secrets=1, used: secrets=4"),
        ('pods "a" is forbidden: failed quota: must-say: must specify limits.cpu', Refuser.QUOTA, "must-say", "must"),
        ("insufficient quota to consume: count/secrets", Refuser.QUOTA, "count/secrets", "count/secrets"),
        (
            (
                "serviceaccounts \"default\" is forbidden: ValidatingAdmissionPolicy 'company' with binding 'all' "
                "denied request: no pull Secrets here"
            ),
            Refuser.POLICY,
            "company",
            "no pull Secrets here",
        ),
        (
            "policy 'company-mutation' with binding 'all' denied request: no such field",
            Refuser.POLICY,
            "company-mutation",
            "no such field",
        ),
        (
            (
                'admission webhook "validate.kyverno.svc-fail" denied the request: \n\nresource Secret/apps-one/app '
                "was blocked due to the following policies \n\nrequire-team:\n  check: 'validation error: label team'"
            ),
            Refuser.WEBHOOK,
            "validate.kyverno.svc-fail",
            "resource Secret/apps-one/app was blocked due to the following policies require-team: check:",
        ),
        (
            'admission webhook "v.example.com" denied the request without explanation',
            Refuser.WEBHOOK,
            V,
            "",
        ),
        (
            f'admission webhook "v.example.com" denied the request: {QUOTA}',
            Refuser.WEBHOOK,
            V,
            "exceeded",
        ),
        (
            (
                'Internal error occurred: failed calling webhook "v.example.com": failed to call webhook: Post '
                '"https://v.example.svc:443/validate?timeout=10s": dial tcp 10.0.0.1:443: connect: connection refused'
            ),
            Refuser.BROKEN_WEBHOOK,
            V,
            "connection refused",
        ),
        (
            "unable to create new content in namespace apps-one because it is being terminated",
            Refuser.TERMINATION,
            "apps-one",
            "being terminated",
        ),
        (
            (
                'secrets is forbidden: User "system:serviceaccount:eso:eso" cannot create resource "secrets" in API '
                'group "" in the namespace "apps-one"'
            ),
            Refuser.RIGHTS,
            "system:serviceaccount:eso:eso",
            'cannot create resource "secrets"',
        ),
    ],
)
def test_the_refuser_is_named(message: str, refuser: Refuser, name: str, told: str) -> None:
    # As ESO puts it into an event, and as a client gets it.
    for text in (message, f"could not update secret: {message}"):
        found = read_refusal(text)
        assert found is not None
        assert (found.refuser, found.name) == (refuser, name)
        assert told in found.message
        assert "\n" not in found.message


@pytest.mark.parametrize(
    "message",
    [
        "",
        "the server rejected our request due to an error in our request",
        "testing path /metadata/resourceVersion failed",
        "Operation cannot be fulfilled on serviceaccounts: the object has been modified; please apply your changes",
        "permission denied",
    ],
)
def test_a_write_in_between_is_refused_by_nobody(message: str) -> None:
    assert read_refusal(message) is None

"""Rules for names of Kubernetes objects and namespaces: one definition of each."""

import re
from collections.abc import Iterable

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""RFC 1123 label: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names"""

DNS_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""RFC 1123 subdomain, the form of most object names."""

NAMESPACE_PATTERN = re.compile(r"[a-z0-9*]([-a-z0-9*]{0,61}[a-z0-9*])?")
"""A namespace name in which `*` stands for any run of characters."""

_MINUTE, _HOUR = "[1-5]?[0-9]", "(?:1?[0-9]|2[0-3])"
DAILY_SCHEDULE = re.compile(rf"{_MINUTE}(,{_MINUTE})* (\*|\*/{_HOUR}|{_HOUR}(,{_HOUR})*) \* \* \*")
"""A cron schedule that comes round each day: minutes, and every hour, every n-th or named ones."""

PLATFORM_NAMESPACE_PATTERNS = ("default", "kube-*", "openshift", "openshift-*")
"""Namespaces of the cluster itself: never tenants, whatever a stack file says."""

PLATFORM_NAMESPACES = (
    "default",
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "openshift",
    "openshift-config",
    "openshift-monitoring",
)
"""Platform namespaces that exist on real clusters: a tenant pattern that takes one of them in is too wide."""


def pattern_to_regex(pattern: str) -> str:
    """Translate a namespace pattern into an anchored regular expression that RE2, CEL and Python read alike."""
    return "^" + ".*".join(re.escape(part) for part in pattern.split("*")).replace(r"\-", "-") + "$"


def matches(namespace: str, patterns: Iterable[str]) -> bool:
    """Tell whether a namespace matches at least one pattern."""
    return any(re.match(pattern_to_regex(pattern), namespace) for pattern in patterns)


def is_platform_namespace(namespace: str) -> bool:
    """Tell whether a namespace belongs to the cluster itself."""
    return matches(namespace, PLATFORM_NAMESPACE_PATTERNS)


def as_label(text: str) -> str:
    """Return a text, such as a host, as a DNS label: what none may hold becomes '-'."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:63].rstrip("-")

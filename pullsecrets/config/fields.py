"""Types of a stack file's values, each with the check that says what is allowed."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import ip_network
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from pullsecrets import image, names
from pullsecrets.durations import parse_duration

LONGEST_REFRESH = timedelta(hours=24)


def _full_match(pattern_of: str, text: str) -> str:
    pattern, allowed = _FORMS[pattern_of]
    if pattern.fullmatch(text) is None:
        raise ValueError(allowed)
    return text


# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")

_FORMS = {
    "label": (names.DNS_LABEL, "a DNS label: lower-case letters, digits and '-', at most 63, such as 'auth-dev'"),
    "subdomain": (names.DNS_SUBDOMAIN, "an object name: lower-case letters, digits, '-' and '.', at most 253"),
    "label value": (
        re.compile(f"({_LABEL_NAME.pattern})?"),
        "the value of a label: letters, digits, '-', '_' and '.', at most 63, or nothing",
    ),
    "pattern": (names.NAMESPACE_PATTERN, "a namespace name in which '*' matches any characters, such as 'apps-*'"),
}


def _check_host(text: str) -> str:
    if allowed := image.host_problem(text):
        raise ValueError(allowed)
    return text


def _check_pattern(text: str) -> str:
    _full_match("pattern", text)
    taken = [name for name in names.PLATFORM_NAMESPACES if names.matches(name, [text])]
    if taken:
        raise ValueError(f"a pattern that matches no platform namespace; this one matches {', '.join(taken)}")
    return text


def _check_label_key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if _LABEL_NAME.fullmatch(name) is None or (slash and names.DNS_SUBDOMAIN.fullmatch(prefix) is None):
        raise ValueError(
            "the key of a label: letters, digits, '-', '_' and '.', at most 63, after an optional DNS name and '/', "
            "such as 'apps.example/registry'"
        )
    return text


def _check_selector(selector: dict[str, str]) -> dict[str, str]:
    if not selector:
        raise ValueError("at least one label and value; an empty selector would match every namespace")
    reserved = [key for key in selector if key.partition("/")[0].endswith(("kubernetes.io", "k8s.io"))]
    if reserved:
        raise ValueError(
            f"an opt-in label of your own; the cluster sets {', '.join(reserved)} itself, "
            "so it could match every namespace"
        )
    return selector


def _check_own_labels(labels: dict[str, str]) -> dict[str, str]:
    # https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name
    if "kubernetes.io/metadata.name" in labels:
        raise ValueError("labels other than kubernetes.io/metadata.name, which the API server sets itself")
    return labels


def _check_fleet_labels(labels: dict[str, str]) -> dict[str, str]:
    if "wave" in labels:
        raise ValueError("labels other than 'wave', which is the key beside them: `--select wave=1`")
    return labels


def _check_refresh(text: str) -> str:
    duration = parse_duration(text)
    if not timedelta(0) < duration <= LONGEST_REFRESH:
        raise ValueError("a duration above 0 and at most 24h; with 0 a rotated credential would never arrive")
    return text


def _check_token_ttl(text: str) -> str:
    if not timedelta(minutes=1) <= parse_duration(text) <= timedelta(hours=1):
        raise ValueError("a duration between 1m and 1h: ESO logs in for each refresh")
    return text


def _check_cidr(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise ValueError("a CIDR block such as 10.0.0.0/8, without host bits") from None
    return text


def _url_parts(text: str) -> SplitResult | None:
    """Return a URL's parts; None when it has no host, a login, or a port that is none, which `urlsplit` reads late."""
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _check_address(text: str) -> str:
    parts = _url_parts(text)
    if parts is None or parts.scheme != "https" or parts.path.rstrip("/") or parts.query or parts.fragment:
        raise ValueError("an https URL without path or credentials, such as 'https://vault.example.com:8200'")
    return text.rstrip("/")


def _check_principal(text: str) -> str:
    if not text.strip() or "*" in text:
        raise ValueError("the name of a user or group as the API server sees it, without wildcards")
    if text in _EVERYBODY:
        raise ValueError("a user or group that does not include everyone")
    return text


_EVERYBODY = ("system:anonymous", "system:authenticated", "system:serviceaccounts", "system:unauthenticated")


def check_pushgateway(text: str) -> str:
    """Return the URL of a Pushgateway.

    Raises:
        ValueError: when it is none, with what is allowed; the text itself is left out, as it may hold a password.
    """
    parts = _url_parts(text)
    if parts is None or parts.scheme not in {"http", "https"} or parts.query:
        raise ValueError("an http or https URL without credentials, such as 'http://pushgateway.monitoring.svc:9091'")
    return text.rstrip("/")


def _check_image(text: str) -> str:
    found = image.parse(text)
    if found is None or not (found.digest or found.tag) or found.tag == "latest":
        raise ValueError(
            "an image pinned by a tag other than 'latest' or by its digest, such as "
            "'registry.example.com/platform/pull-secrets:1.0.0'"
        )
    return text


def _check_schedule(text: str) -> str:
    if names.DAILY_SCHEDULE.fullmatch(text) is None:
        raise ValueError(
            "a cron schedule in UTC of once a day or more often, such as '0 6 * * *' or '30 */6 * * *': the alert on a "
            "stale audit expects one each day"
        )
    return text


def _check_expiry_notice(text: str) -> str:
    if parse_duration(text) <= timedelta(0):
        raise ValueError("a duration above 0, such as 336h for two weeks")
    return text


def _check_file(text: str) -> str:
    file = PurePosixPath(text)
    if file.is_absolute() or ".." in file.parts or file.suffix not in {".yaml", ".yml"}:
        raise ValueError("a YAML file below the project's folder, such as 'sealed/dev/app-registry-pull.yaml'")
    return text


def _check_path(text: str) -> str:
    segments = text.split("/")
    if any(not segment or segment in {".", ".."} or "*" in segment or "+" in segment for segment in segments):
        raise ValueError("a path below the KV mount without leading '/', empty segments or wildcards")
    if segments[0] in {"data", "metadata"}:
        raise ValueError("the logical path below the KV mount; the API adds 'data/' or 'metadata/' itself")
    return text


def _shown(title: str, example: str, pattern: re.Pattern[str] | None = None) -> WithJsonSchema:
    """Return how editors and docs/configuration.md show a type: its name, an example, and a pattern that says it."""
    shown = {"type": "string", "title": title, "examples": [example]}
    return WithJsonSchema(shown | ({"pattern": f"^({pattern.pattern})$"} if pattern else {}))


def _check_in_repository(text: str) -> str:
    if not PurePosixPath(text).parts or text.startswith("/") or ".." in PurePosixPath(text).parts:
        raise ValueError("a path inside the repository, such as 'apps'")
    return text


def _check_services(text: str) -> str:
    if text.count("{service}") != 1:
        raise ValueError("a path that names {service} once, such as 'apps/{service}'")
    return _check_in_repository(text)


def _check_environments(text: str) -> str:
    if text.count("{environment}") != 1 or text.count("{service}") > 1:
        raise ValueError(
            "a path that names {environment} once, such as 'overlays/{environment}' below each service, "
            "or from the top with both names, such as 'environments/{environment}/{service}'"
        )
    return _check_in_repository(text)


def _check_field(text: str) -> str:
    if not text or not all(text.split(".")):
        raise ValueError("the path of a field, such as 'spec.template.spec'")
    return text


Label = Annotated[
    str, AfterValidator(lambda text: _full_match("label", text)), _shown("DNS label", "auth-dev", names.DNS_LABEL)
]
ObjectName = Annotated[
    str,
    AfterValidator(lambda text: _full_match("subdomain", text)),
    _shown("object name", "vault-platform", names.DNS_SUBDOMAIN),
]
Host = Annotated[str, AfterValidator(_check_host), _shown("registry host", "registry.example.com:5000")]
NamespacePattern = Annotated[
    str, AfterValidator(_check_pattern), _shown("namespace pattern", "apps-*", names.NAMESPACE_PATTERN)
]
LabelKey = Annotated[str, AfterValidator(_check_label_key), _shown("label key", "apps.example/registry")]
LabelValue = Annotated[
    str, AfterValidator(lambda text: _full_match("label value", text)), _shown("label value", "true")
]
Labels = dict[LabelKey, LabelValue]
OwnLabels = Annotated[Labels, AfterValidator(_check_own_labels)]
FleetLabels = Annotated[Labels, AfterValidator(_check_fleet_labels)]
Annotations = dict[LabelKey, str]
Selector = Annotated[Labels, AfterValidator(_check_selector)]
Refresh = Annotated[str, AfterValidator(_check_refresh), _shown("duration up to 24h", "1h")]
TokenTtl = Annotated[str, AfterValidator(_check_token_ttl), _shown("duration from 1m to 1h", "10m")]
Cidr = Annotated[str, AfterValidator(_check_cidr), _shown("CIDR block", "10.0.0.0/8")]
Address = Annotated[str, AfterValidator(_check_address), _shown("https URL", "https://vault.example.com:8200")]
KvPath = Annotated[str, AfterValidator(_check_path), _shown("path in Vault", "dev/registries/app-registry-pull")]
RelativeFile = Annotated[str, AfterValidator(_check_file), _shown("file", "sealed/dev/app-registry-pull.yaml")]
Principal = Annotated[str, AfterValidator(_check_principal), _shown("user or group", "platform-engineers")]
Pushgateway = Annotated[
    str, AfterValidator(check_pushgateway), _shown("http or https URL", "http://pushgateway.monitoring.svc:9091")
]
PinnedImage = Annotated[
    str, AfterValidator(_check_image), _shown("pinned image", "registry.example.com/platform/pull-secrets:1.0.0")
]
DailySchedule = Annotated[
    str, AfterValidator(_check_schedule), _shown("cron schedule", "30 */6 * * *", names.DAILY_SCHEDULE)
]
ExpiryNotice = Annotated[str, AfterValidator(_check_expiry_notice), _shown("duration", "336h")]
Port = Annotated[int, Field(ge=1, le=65535)]


def _with_versions(schema: dict[str, Any], model: type["ConfigModel"]) -> None:
    """Put the version of each key into a model's JSON schema."""
    for name, field in model.model_fields.items():
        schema["properties"][field.alias]["x-since"] = model.first_version(name)


class ConfigModel(BaseModel):
    """Base of all config models: camelCase keys, frozen, unknown keys refused, no coercion of types."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        validate_default=True,
        json_schema_extra=_with_versions,
    )

    since: ClassVar[Mapping[str, Sequence[str]]] = {}
    """The keys that a model declares itself, by the version of this package that had them first."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Refuse a key without its version. Raises TypeError, which names the key."""
        for name in cls.model_fields:
            cls.first_version(name)

    @classmethod
    def first_version(cls, name: str) -> str:
        """Return the version of this package that had a key first. Raises TypeError where no model says it."""
        for model in cls.__mro__:
            for version, keys in vars(model).get("since", {}).items():
                if name in keys:
                    return version
        raise TypeError(f"{cls.__name__}.{name}: `since` names no version; add the one that is released next")


RepositoryPath = Annotated[str, AfterValidator(_check_in_repository), _shown("path in the repository", "apps")]
ServicesPattern = Annotated[str, AfterValidator(_check_services), _shown("path with {service}", "apps/{service}")]
EnvironmentsPattern = Annotated[
    str, AfterValidator(_check_environments), _shown("path with {environment}", "overlays/{environment}")
]
FieldPath = Annotated[str, AfterValidator(_check_field), _shown("path of a field", "spec.template.spec")]

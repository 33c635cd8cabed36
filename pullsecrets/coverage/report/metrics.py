"""An audit as OpenMetrics text (https://prometheus.io/docs/specs/om/open_metrics_spec/), for Prometheus to alert on.

Only gauges: node_exporter reads files in the Prometheus text format, which has no other type that OpenMetrics adds.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest  # pyright: ignore[reportUnknownVariableType]
from prometheus_client.registry import Collector, CollectorRegistry

from pullsecrets.coverage.audit import Audit

STATES = ("expected", "labelled", "delivered", "proved", "bound", "green")
ORPHAN_KINDS = ("Secret", "ExternalSecret", "ServiceAccount entry", "finalizer")


def render(found: Audit, stack: str, cluster: str) -> str:
    """Return the exposition, which ends with `# EOF`."""
    # The library leaves these without types.
    text = cast("Callable[[CollectorRegistry], bytes]", generate_latest)(collect(found, stack, cluster))
    return text.decode("utf-8")


def collect(found: Audit, stack: str, cluster: str) -> CollectorRegistry:
    """Return the audit's metrics for whatever writes or sends them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(found, stack, cluster))
    return registry


@dataclass(frozen=True)
class _Families(Collector):
    found: Audit
    stack: str
    cluster: str

    def describe(self) -> Iterator[Metric]:
        """Declare nothing beforehand: the registry would ask for a collection to learn the names."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yield each family."""
        yield self._identity()
        yield self._namespaces()
        yield self._green()
        yield from self._credentials()
        yield from self._strays()
        yield from self._run()

    def _identity(self) -> Metric:
        # No Info: node_exporter reads files in the Prometheus text format, which has no such type.
        family = GaugeMetricFamily(
            "pull_secrets_audit_info", "Stack and cluster that were audited.", labels=("stack", "cluster")
        )
        family.add_metric((self.stack, self.cluster), 1)
        return family

    def _namespaces(self) -> Metric:
        family = GaugeMetricFamily(
            "pull_secrets_namespaces", "Namespaces of a registry by state.", labels=("registry", "state")
        )
        for item in self.found.totals():
            counts = (item.expected, item.selected, item.delivered, item.proved, item.bound, item.green)
            for state, count in zip(STATES, counts, strict=True):
                family.add_metric((item.registry, state), count)
        return family

    def _green(self) -> Metric:
        family = GaugeMetricFamily(
            "pull_secrets_namespace_green",
            "Whether a registry's Secret is delivered to a namespace, bound and current.",
            labels=("namespace", "registry"),
        )
        for row in self.found.rows:
            family.add_metric((row.namespace, row.registry), row.green)
        return family

    def _credentials(self) -> Iterator[Metric]:
        seeded = _gauge("pull_secrets_credential_seeded_timestamp", "When a credential was seeded.", "seconds")
        expiry = _gauge("pull_secrets_credential_expiry_timestamp", "When a credential expires.", "seconds")
        for item in self.found.credentials:
            if item.seeded_at:
                seeded.add_metric((item.registry,), item.seeded_at.timestamp())
            if item.expires_at:
                expiry.add_metric((item.registry,), item.expires_at.timestamp())
        yield seeded
        yield expiry

    def _strays(self) -> Iterator[Metric]:
        others = len(self.found.unmanaged_secrets)
        yield GaugeMetricFamily("pull_secrets_unmanaged_secrets", "Unmanaged pull Secrets.", others)
        orphans = GaugeMetricFamily("pull_secrets_orphans", "Leftovers of ours by kind.", labels=("kind",))
        kinds = Counter(item.kind for item in self.found.orphans)
        for kind in ORPHAN_KINDS:
            orphans.add_metric((kind,), kinds[kind])
        yield orphans
        if self.found.notes:
            # Left out and not 0: nobody looked.
            return
        undeclared = _gauge("pull_secrets_undeclared_namespaces", "Namespaces whose Pods pull without opting in.")
        uses = Counter(item.registry for item in self.found.undeclared_uses)
        for item in self.found.totals():
            undeclared.add_metric((item.registry,), uses[item.registry])
        yield undeclared

    def _run(self) -> Iterator[Metric]:
        found = self.found
        yield GaugeMetricFamily("pull_secrets_audit_complete", "Whether all could be read.", not found.notes)
        yield GaugeMetricFamily("pull_secrets_audit_api_requests", "Requests to the Kubernetes API.", found.requests)
        yield GaugeMetricFamily(
            "pull_secrets_audit_duration_seconds", "How long the audit took.", found.seconds, unit="seconds"
        )
        yield GaugeMetricFamily(
            "pull_secrets_audit_success_timestamp_seconds",
            "When the audit last came to its end.",
            found.finished_at.timestamp(),
            unit="seconds",
        )


def _gauge(name: str, documentation: str, unit: str = "") -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{name}_{unit}" if unit else name, documentation, labels=("registry",), unit=unit)

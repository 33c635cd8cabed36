"""Sends an audit's metrics to a Pushgateway, for Prometheus to scrape from there after the audit has ended.

A Pushgateway reads the Prometheus text format and no OpenMetrics (https://github.com/prometheus/pushgateway/issues/400).
"""

from http.client import HTTPException

from prometheus_client import push_to_gateway  # pyright: ignore[reportUnknownVariableType]

from pullsecrets.coverage.audit import Audit
from pullsecrets.coverage.report.metrics import collect
from pullsecrets.errors import UnreachableError

JOB = "pull-secrets"
TIMEOUT_SECONDS = 15


def push(found: Audit, stack: str, cluster: str, url: str) -> None:
    """Put the metrics in the place of those that the cluster's last audit sent.

    Args:
        cluster: the cluster's name; with the job it is what the Pushgateway groups by.
        url: the Pushgateway's, without `/metrics`.

    Raises:
        UnreachableError: when it does not answer or does not take them.
    """
    metrics = collect(found, stack, cluster)
    try:
        push_to_gateway(url, job=JOB, registry=metrics, grouping_key={"cluster": cluster}, timeout=TIMEOUT_SECONDS)
    except (OSError, HTTPException) as error:
        raise UnreachableError(
            f"Pushgateway at {url} did not accept the metrics ({error}); check --push (monitoring.pushgateway), the "
            "network and the Pushgateway's log"
        ) from None

"""The kind PrometheusRule in a cluster without the Prometheus Operator."""

from typing import Any, Final

RULES: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/prometheusrules.monitoring.coreos.com"
"""Path of the definition."""


def rule_definition() -> dict[str, Any]:
    """The kind as the Prometheus Operator brings it, without its schema."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    kinds = {"kind": "PrometheusRule", "plural": "prometheusrules", "singular": "prometheusrule"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": RULES.rpartition("/")[2]},
        "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": kinds, "versions": [version]},
    }

"""Who may do what in the local cluster: the project's own roles, bound to the groups of the local identities."""

from __future__ import annotations

from typing import Any

from pullsecrets.access import (
    auditor_roles,
    deployer_roles,
    diagnostician_roles,
    migrator_roles,
    offboarder_roles,
    operator_roles,
)

DEPLOYERS = "platform-engineers"
AUDITORS = "auditors"
OPERATORS = "on-call"
DIAGNOSTICIANS = "diagnosticians"
OFFBOARDERS = "offboarders"
MIGRATORS = "migrators"
# The stores of the demo, of the tests and of the benchmarks, which may all stand in one cluster.
STORES = ("vault-platform", "vault-e2e", "vault-ops", "vault-bench", "vault-node")

# Relayed registries of the tests, as `<store>-<registry>`.
RELAYS = ("vault-ops-ops-relay", "vault-ops-ops-sealed")


def roles(eso_namespace: str) -> list[dict[str, Any]]:
    """Return the roles and bindings of deployers, auditors, operators, and of what operators are given for a while.

    Args:
        eso_namespace: namespace of External Secrets Operator.
    """
    reviewers = [f"{store}-token-reviewer" for store in STORES]
    return [
        *deployer_roles(DEPLOYERS, eso_namespace, reviewers, RELAYS),
        *auditor_roles(AUDITORS),
        *operator_roles(OPERATORS, eso_namespace),
        *diagnostician_roles(DIAGNOSTICIANS, eso_namespace, "external-secrets"),
        *offboarder_roles(OFFBOARDERS),
        *migrator_roles(MIGRATORS),
    ]

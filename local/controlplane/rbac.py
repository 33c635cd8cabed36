"""Who may do what in the local cluster: the project's own roles, bound to the groups of the local identities."""

from __future__ import annotations

from typing import Any

from pullsecrets.manifests.rbac import (
    Platform,
    administrator_roles,
    auditor_roles,
    deployer_roles,
    diagnostician_roles,
    migrator_roles,
    offboarder_roles,
    operator_roles,
    surveyor_roles,
    verifier_roles,
)

DEPLOYERS = "platform-engineers"
AUDITORS = "auditors"
OPERATORS = "on-call"
DIAGNOSTICIANS = "diagnosticians"
OFFBOARDERS = "offboarders"
MIGRATORS = "migrators"
VERIFIERS = "verifiers"
# The stacks that play a fleet, in its tests and its benchmark.
FLEET = tuple(f"fleet-{number:02}" for number in range(1, 21))
# The stores of the demo, of the tests and of the benchmarks, which may all stand in one cluster.
STORES = (
    "vault-platform",
    "vault-e2e",
    "vault-e2e-2",
    "vault-changes",
    "vault-rows",
    "vault-rows-2",
    "vault-ops",
    "vault-bench",
    "vault-node",
    *(f"vault-{stack}" for stack in FLEET),
)

# Relayed registries of the tests, as `<store>-<registry>`.
RELAYS = (
    "vault-ops-ops-relay",
    "vault-ops-ops-sealed",
    "vault-e2e-e2e-app",
    "vault-e2e-e2e-web",
    "vault-rows-delivery",
    "vault-rows-2-delivery",
)


# Those of the demo. Tests make registries of many names, so the groups above list Secrets as surveyors.
REGISTRIES = ("app-registry-pull", "registry-api-tanhdev")


def roles(eso_namespace: str) -> list[dict[str, Any]]:
    """Return the roles and bindings of deployers, auditors, operators, and of what operators are given for a while.

    Args:
        eso_namespace: namespace of External Secrets Operator.
    """
    reviewers = [f"{store}-token-reviewer" for store in STORES]
    platform = Platform(eso_namespace, reviewers, RELAYS, sealed=True, pod_admission=True)
    return [
        *deployer_roles(DEPLOYERS, platform),
        *administrator_roles(DEPLOYERS, platform),
        *auditor_roles(AUDITORS, REGISTRIES),
        *operator_roles(OPERATORS, platform, REGISTRIES),
        *(item for group in (AUDITORS, OPERATORS) for item in surveyor_roles(group, f"local-{group}")),
        *diagnostician_roles(DIAGNOSTICIANS, eso_namespace, "external-secrets"),
        *offboarder_roles(OFFBOARDERS),
        *migrator_roles(MIGRATORS),
        *verifier_roles(VERIFIERS),
    ]

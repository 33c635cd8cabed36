"""What a `__main__.py` calls: one cluster stack's registry pull Secrets, declared from its configuration."""

import asyncio
from typing import Any

import pulumi

from pullsecrets.components.compose import declare
from pullsecrets.components.engine_log import drop_debug_messages, short_stack_traces
from pullsecrets.components.settings import read_config
from pullsecrets.components.state import read_before
from pullsecrets.errors import PullSecretsError
from pullsecrets.tenancy import changes, preflight


def run() -> None:
    """Make this the running Pulumi program: `Pulumi.<stack>.yaml` says what it declares.

    To be called once, from the program's `__main__.py`, which may declare resources of its own beside.
    """
    pulumi.run(_declare_stack)


async def _declare_stack() -> dict[str, Any]:
    """Check the surroundings, declare the stack and return its outputs."""
    drop_debug_messages()
    try:
        config, before = read_config(), await read_before()
        environment = preflight.inspect(config, pulumi.get_stack(), pulumi.get_project(), known=before.tenants)
        changes.require_handed_over(before, config)
        foreseen = changes.foresee(before, config, environment.labels)
        changes.require_harmless(config, foreseen)
    except PullSecretsError as error:
        raise pulumi.RunError(str(error)) from None
    unpopulated = preflight.gate_messages(config, environment.unpopulated, pulumi.get_stack())
    for message in (*environment.reviews.warnings, *unpopulated):
        pulumi.warn(message)
    for change in foreseen:
        (pulumi.warn if change.hurts or change.affects_others else pulumi.info)(str(change))
    with short_stack_traces():
        declare(config, environment, before)
    # Registrations start here and not after the program: the SDK would then look through every output each time one of
    # them completes, a cost that grows with the square of the tenants.
    await asyncio.sleep(0)
    return {
        "cluster": config.cluster.name,
        "stores": [store.name for store in config.vault_stores],
        "registries": {registry.name: list(registry.hosts) for registry in config.registries},
        "tenants": [tenant.name for tenant in config.resolve_tenants()],
    }

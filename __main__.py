"""The Pulumi program: one cluster stack's registry pull Secrets, from its configuration."""

import pulumi

from components.compose import declare
from components.engine_log import drop_debug_messages
from components.settings import read_config
from pullsecrets import preflight
from pullsecrets.errors import PullSecretsError

drop_debug_messages()

try:
    config = read_config()
    environment = preflight.inspect(config, pulumi.get_stack(), pulumi.get_project())
except PullSecretsError as error:
    raise pulumi.RunError(str(error)) from None

for message in preflight.gate_messages(config, environment.unpopulated, pulumi.get_stack()):
    pulumi.warn(message)

declare(config, environment)

pulumi.export("cluster", config.cluster.name)
pulumi.export("store", config.eso.store)
pulumi.export("registries", {registry.name: list(registry.hosts) for registry in config.registries})
pulumi.export("tenants", [tenant.name for tenant in config.resolve_tenants()])

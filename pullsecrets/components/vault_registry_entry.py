"""`VaultRegistryEntry`: one registry's place in Vault, without the credential itself."""

from typing import NotRequired, TypedDict

import pulumi
import pulumi_vault as vault

from pullsecrets.components.kv_metadata import KvMetadata
from pullsecrets.config.model import Registry, Vault
from pullsecrets.manifests import builders


class VaultRegistryEntryArgs(TypedDict):
    """Arguments of `VaultRegistryEntry`."""

    address: pulumi.Input[str]
    """https URL of Vault."""
    ca_bundle: NotRequired[pulumi.Input[str | None]]
    """PEM certificates that sign Vault's; VAULT_CACERT comes first, and without both the system's own count."""
    mount: NotRequired[pulumi.Input[str]]
    """KV v2 mount."""
    path: pulumi.Input[str]
    """KV path below the mount, without `data/`."""
    policy: pulumi.Input[str]
    """Name of the Vault policy that reads this path."""
    cluster: pulumi.Input[str]
    """Cluster that the entry is for, recorded in its metadata."""
    owner: NotRequired[pulumi.Input[str]]
    """Who answers for the credential, recorded in its metadata."""
    hosts: pulumi.Input[list[pulumi.Input[str]]]
    """Canonical registry hosts, recorded in its metadata."""
    max_versions: NotRequired[pulumi.Input[int]]
    """Versions that Vault keeps, for rolling back."""


class VaultRegistryEntry(pulumi.ComponentResource):
    """Declares a registry's KV metadata and the policy that lets ESO read that path and no other.

    The credential's bytes never pass through Pulumi, where even write-only fields land in state: `pull-secrets seed`
    writes them. Writing without check-and-set is refused from here on.
    """

    policy_name: pulumi.Output[str]
    """Name of the read-only policy."""

    def __init__(self, name: str, args: VaultRegistryEntryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare metadata and policy.

        Args:
            args: the path and what is recorded of it.
            opts: resource options; children inherit the Vault provider.
        """
        super().__init__("pullsecrets:index:VaultRegistryEntry", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self._declare_metadata(name, args, child)
        rules = pulumi.Output.all(args.get("mount", Vault.model_fields["mount"].default), args["path"]).apply(
            lambda known: builders.vault_read_policy(*known)
        )
        policy = vault.Policy(f"{name}-policy", name=args["policy"], policy=rules, opts=child)
        self.policy_name = policy.name
        self.register_outputs({"policy_name": self.policy_name})

    @staticmethod
    def _declare_metadata(name: str, args: VaultRegistryEntryArgs, opts: pulumi.ResourceOptions) -> None:
        custom = pulumi.Output.all(
            args.get("owner", Registry.model_fields["owner"].default), args["hosts"], args["cluster"]
        ).apply(lambda known: {"registry": name, "owner": known[0], "hosts": ",".join(known[1]), "cluster": known[2]})
        KvMetadata(
            f"{name}-metadata",
            {
                "address": args["address"],
                "ca_bundle": args.get("ca_bundle"),
                "mount": args.get("mount", Vault.model_fields["mount"].default),
                "path": args["path"],
                "custom": custom,
                "max_versions": args.get("max_versions", Registry.model_fields["max_versions"].default),
            },
            opts,
        )

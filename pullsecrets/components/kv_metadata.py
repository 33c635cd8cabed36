"""`KvMetadata`: our keys in a KV v2 path's metadata, merged beside those that others keep there."""

from typing import Any, TypedDict

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from pullsecrets.credential.vault import NEVER, VaultClient
from pullsecrets.credential.vault_transport import way_from_here


class KvMetadataArgs(TypedDict):
    """Arguments of `KvMetadata`."""

    address: pulumi.Input[str]
    """https URL of Vault as the cluster reaches it; VAULT_ADDR where this machine reaches it otherwise."""
    ca_bundle: pulumi.Input[str | None]
    """PEM certificates that sign Vault's; VAULT_CACERT comes first, and without both the system's own count."""
    mount: pulumi.Input[str]
    """KV v2 mount."""
    path: pulumi.Input[str]
    """KV path below the mount."""
    custom: pulumi.Input[dict[str, pulumi.Input[str]]]
    """Keys of `custom_metadata` that this resource owns."""
    max_versions: pulumi.Input[int]
    """Versions that Vault keeps, for rolling back."""


class _Provider(ResourceProvider):
    """Merges with PATCH, so that what `pull-secrets seed` records in the same metadata stays."""

    # The pickled provider holds no secret; as plain text it costs no encryption per resource.
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Merge our keys in; the path need not exist yet."""
        _client(props).patch_metadata(props["mount"], props["path"], props["custom"], _settings(props))
        return CreateResult(id_=f"{props['mount']}/metadata/{props['path']}", outs=dict(props))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Report what our keys hold now."""
        found = _client(props).read_metadata(props["mount"], props["path"])
        if found is None:
            return ReadResult(id_="", outs={})
        live = {
            **props,
            "custom": {key: found.custom[key] for key in props["custom"] if key in found.custom},
            # Declared together, and so drift together.
            "max_versions": found.max_versions if found.cas_required and found.delete_version_after == NEVER else 0,
        }
        return ReadResult(id_=id_, outs=live)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Compare our keys; another path is another resource."""
        replaced = [key for key in ("mount", "path") if _olds.get(key) != _news[key]]
        # State has to name where the provider's code is now, or nothing could delete the resource later.
        changed = any(_olds.get(key) != _news[key] for key in ("custom", "max_versions", "__provider"))
        return DiffResult(changes=changed or bool(replaced), replaces=replaced)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Merge changed keys in and take keys out that we no longer declare."""
        dropped: dict[str, str | None] = {key: None for key in _olds["custom"] if key not in _news["custom"]}
        _client(_news).patch_metadata(_news["mount"], _news["path"], {**dropped, **_news["custom"]}, _settings(_news))
        return UpdateResult(outs=dict(_news))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Take our keys out. The entry and its versions stay: deleting metadata would destroy the credential.

        Keys that hold other values are another's by now: so they are when a registry got another name, because what
        is declared under the new one is created before this is deleted.
        """
        client = _client(_props)
        found = client.read_metadata(_props["mount"], _props["path"])
        if found is not None and _props["custom"].items() <= found.custom.items():
            client.patch_metadata(_props["mount"], _props["path"], dict.fromkeys(_props["custom"]))


class KvMetadata(Resource, module="pullsecrets", name="KvMetadata"):
    """Our keys in a KV v2 path's metadata; never its value, and never its deletion."""

    def __init__(self, name: str, args: KvMetadataArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the keys.

        Args:
            args: path and keys.
        """
        super().__init__(_Provider(), name, {**args}, opts)


def _client(props: dict[str, Any]) -> VaultClient:
    return VaultClient(*way_from_here(props["address"], props.get("ca_bundle")))


def _settings(props: dict[str, Any]) -> dict[str, Any]:
    # Numbers pass through the engine as floats.
    return {"cas_required": True, "max_versions": int(props["max_versions"]), "delete_version_after": NEVER}

"""What the metadata of a KV path says of its versions."""

from pullsecrets.credential.vault import EntryMetadata, VersionState


def current(metadata: EntryMetadata | None) -> VersionState | None:
    """Return the state of the current version; None when there is none."""
    versions = metadata.versions if metadata else ()
    return next((item for item in versions if metadata and item.version == metadata.current_version), None)


def last_live(metadata: EntryMetadata) -> str:
    """Return which version could be gone back to, as evidence."""
    live = [item.version for item in metadata.versions if item.state == "live"]
    return f"last live version: {max(live)}" if live else "no version is live any more"

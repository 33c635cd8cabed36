"""What can go wrong while tools are built or looked up."""


class ToolchainError(Exception):
    """A tool cannot be had. The message names the tool, the cause and what to do."""


class ToolMissing(ToolchainError):  # noqa: N818 - reads as what it says at every `except`
    """A tool is asked for that nothing has built yet."""


class BuildFailed(ToolchainError):  # noqa: N818 - as above
    """A tool's build ended with an error, or could not start."""

"""The plugins that the Pulumi engine starts where the official ones cannot be installed."""

"""A Pulumi program that tries each way around the packs."""

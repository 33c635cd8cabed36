"""The Pulumi program: the registry pull Secrets of one cluster stack, from its configuration."""

from pullsecrets.program import run

run()

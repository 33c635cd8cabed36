"""Reads what the running stack's state held before this run."""

import pulumi
from pulumi.runtime.invoke import invoke_async

from pullsecrets.tenancy.changes import Before


async def read_before() -> Before:
    """Return what an earlier run left in state; nothing for a new stack.

    A provider sees one resource alone. What a change takes from tenants shows only when all that was declared is
    compared with all that is declared now.
    """
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    answer = await invoke_async("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack})
    return Before.of(answer["outputs"].values())

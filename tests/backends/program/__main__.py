"""Declares three things, one after the other."""

import pulumi
from things import Thing

made: list[pulumi.Resource] = []
for name in ("first", "second", "third"):
    made.append(Thing(name, pulumi.ResourceOptions(depends_on=made[-1:])))

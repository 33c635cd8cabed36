"""Loads the whole Pulumi SDK first: the local plugins would otherwise put their lighter stand-in of it in its place."""

import pulumi

assert pulumi.Output

"""The Python language host: runs Pulumi programs, policy packs and plugins written in Python.

A Pulumi release brings its own, which is used where there is one. Its Go module is not to be had, so where the engine
is built, this one over the SDK's gRPC stubs serves it.
"""

"""Reusable Pulumi components that deliver registry pull Secrets; they declare resources and do no I/O of their own.

Each module is imported by itself: the process that runs the dynamic resources loads theirs and no Kubernetes types.
"""

"""The rules that policy packs, the lint command and the in-cluster guard share: pure predicates over plain data.

Nothing here imports more than the standard library, so that a pack starts fast and a published one is small.
"""

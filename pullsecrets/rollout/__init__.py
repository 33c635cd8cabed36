"""Rolls services out to a registry's pull Secret in waves, each of which must prove itself before the next begins."""

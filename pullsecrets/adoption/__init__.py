"""Secrets that somebody made by hand: found, taken over, brought back and cleaned up."""

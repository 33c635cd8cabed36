"""Pods and what makes them: how they pull, and why they cannot."""

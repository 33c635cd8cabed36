"""Diagnosis of a stack: what the on-call sees, why it is so, and what to do."""

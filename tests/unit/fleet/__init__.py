"""Tests of the stacks of a project as one list."""

"""Tests of `pullsecrets.cli`."""

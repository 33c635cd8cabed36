"""Tests of `pullsecrets.policy`."""

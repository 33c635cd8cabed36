"""Tests of `pullsecrets.guard`."""

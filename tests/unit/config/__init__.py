"""Tests of `pullsecrets.config`."""

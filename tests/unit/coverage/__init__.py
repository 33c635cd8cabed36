"""Tests of `pullsecrets.coverage`."""

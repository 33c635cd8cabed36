"""Tests of `pullsecrets.adoption`."""

"""Tests of `pullsecrets.delivery`."""

"""Tests of `pullsecrets/credential/`."""

"""Tests of `pullsecrets.tenancy`."""

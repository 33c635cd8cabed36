"""Tests of `pullsecrets.manifests`."""

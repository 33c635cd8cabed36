"""Tests of `pullsecrets.kube`."""

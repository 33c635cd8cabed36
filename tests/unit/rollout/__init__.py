"""Tests of `pullsecrets.rollout`."""

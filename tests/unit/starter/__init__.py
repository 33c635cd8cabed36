"""Tests of a team's own repository: its files, and what a cluster says about them."""

"""A repository of a team's own on the installed package: its files, and what a cluster already says about them."""

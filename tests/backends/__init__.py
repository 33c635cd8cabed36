"""Backends that hold state, with their real servers: an S3 server and PostgreSQL. On demand: `make backends`."""

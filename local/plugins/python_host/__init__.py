"""Language host of Python: runs Pulumi programs, policy packs and plugins that are written in Python."""

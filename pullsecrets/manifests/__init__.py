"""The one definition of each Kubernetes object: pure builders that return plain objects."""

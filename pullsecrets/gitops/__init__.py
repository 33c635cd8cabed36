"""A GitOps repository of Kustomize services: what it pulls with, and its move to one shared pull Secret."""

"""The Kubernetes API as this project uses it: the client, what we write and read on objects, and External Secrets."""

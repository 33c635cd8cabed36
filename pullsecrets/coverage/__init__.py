"""Coverage: one reading of the cluster, a row for each namespace, what else is there, and five formats."""

"""The commands of an on-call, each on a real control plane with real faults."""

"""CrossGuard policy packs: thin adapters around the rules in `pullsecrets.policy`, one folder per pack."""

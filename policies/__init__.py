"""CrossGuard policy packs: thin adapters around the rules in `pullsecrets.rules`, one folder per pack."""

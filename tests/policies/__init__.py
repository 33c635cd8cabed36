"""The policy packs, judged by the real engine."""

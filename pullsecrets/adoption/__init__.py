"""Hand-made pull Secrets: found, adopted, restored and cleaned up."""

"""Having a credential delivered now, and proved in every namespace."""

"""What is done to a tenant: labels, ServiceAccounts, finalizers, and what a change of the stack file means to it."""

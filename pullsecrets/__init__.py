"""Domain library and command line for registry pull Secrets; imports no Pulumi."""

"""The program on the real control plane, through the real `pulumi` command."""

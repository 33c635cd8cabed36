"""`python -m pullsecrets`: the same as the `pull-secrets` console script."""

from pullsecrets.cli import main

main()

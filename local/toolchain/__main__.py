"""`python -m local.toolchain NAME`: prints where a tool's executable is."""

import sys

from local import toolchain

if __name__ == "__main__":
    try:
        print(toolchain.binary(sys.argv[1]))
    except toolchain.ToolchainError as error:
        sys.exit(str(error))

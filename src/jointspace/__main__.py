"""The command line as a module: for `python -m jointspace`, and for `torchrun`."""

import sys

from jointspace.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m graysam` is the command `graysam`."""

import sys

from graysam.cli import main

if __name__ == "__main__":
    sys.exit(main())

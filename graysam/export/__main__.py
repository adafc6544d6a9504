"""`python -m graysam.export`."""

from __future__ import annotations

import sys

from graysam.export.command import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m data_prep`: see cli/."""

from data_prep.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

"""Runs the leaderboard's command: python -m evaluation.rank --help."""

import sys

from evaluation.rank.command import main

if __name__ == "__main__":
    sys.exit(main())

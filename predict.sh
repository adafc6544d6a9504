#!/bin/sh
# What the challenge runs: `sh predict.sh` in the image's working directory. Options are passed on.
exec python3 "$(dirname "$0")/predict.py" "$@"

#!/bin/sh
# What the challenge runs: `sh predict.sh` in the image's working directory. Options are passed on; an image may set some
# of its own in GRAYSAM_OPTIONS, which those of the command line overrule.
# shellcheck disable=SC2086 # GRAYSAM_OPTIONS is several words
exec python3 "$(dirname "$0")/predict.py" ${GRAYSAM_OPTIONS:-} "$@"

#!/usr/bin/env bash
# The 23 promises with all their tests, the slow ones too: at most 30 minutes on two cores. Prints
# promise, number and result, and writes docs/reliability.md. Arguments choose promises: P1 P5.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
exec python -m scripts.reliability "$@"

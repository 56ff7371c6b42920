#!/usr/bin/env bash
# From a fresh machine to an aligned model: makes the environment, then aligns the bundled model,
# samples, scores and reports. Paths are relative to the repository root: see runs/quickstart/.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
exec diffpref quickstart "$@"

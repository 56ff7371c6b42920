#!/usr/bin/env bash
# The default test suite, offline, on two processes of one thread each. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 HF_HUB_OFFLINE=1
exec python -m pytest -n 2 "$@"

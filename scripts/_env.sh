# Sourced by the other scripts: moves to the repository root and makes or reuses its .venv.
#
# The environment is rebuilt only when requirements.lock changes and the package is reinstalled only
# when pyproject.toml changes, so a second run touches no network. Messages go to stderr.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PYTHONNOUSERSITE=1
unset PYTHONDONTWRITEBYTECODE # without cached bytecode every process compiles torch anew: 5 s

venv_python=.venv/bin/python
lock_stamp=.venv/diffpref-lock.sha256
package_stamp=.venv/diffpref-package.sha256
uv_pin=uv==0.13.8

die() {
    echo "$*" >&2
    exit 1
}

hash_of() {
    { cat "$1"; "$venv_python" -c 'import sys; print(sys.version_info[:2])'; pwd; } |
        "$venv_python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

is_current() { # stamp, file
    [ -f "$1" ] && [ "$(cat "$1")" = "$(hash_of "$2")" ]
}

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    die "diffpref needs Python 3.11 or newer; on Debian 12+, Ubuntu 24.04+: sudo apt install python3 python3-venv"
}

make_venv() {
    local python package=python3-venv
    python=$(find_python) || exit 1
    [ "$python" = python3 ] || package=$python-venv
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null && ! command -v uv >/dev/null; then
        die "Python's venv module is missing; on Debian or Ubuntu: sudo apt install $package"
    fi
    echo "Making the environment .venv" >&2
    if "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        "$python" -m venv --clear .venv
    else
        uv venv --quiet --clear --python "$python" .venv
    fi
}

pip_install() {
    if command -v uv >/dev/null && uv --version >/dev/null 2>&1; then
        uv pip install --quiet --python "$venv_python" "$@"
    elif [ -x .venv/bin/uv ]; then
        .venv/bin/uv pip install --quiet --python "$venv_python" "$@"
    else
        "$venv_python" -m pip install --quiet --disable-pip-version-check "$@"
    fi
}

install_locked() {
    echo "Installing the pinned packages of requirements.lock (torch is large: this can take minutes)" >&2
    if ! command -v uv >/dev/null && [ ! -x .venv/bin/uv ]; then
        # uv installs several times faster than pip; without it pip does the same job.
        "$venv_python" -m pip install --quiet --disable-pip-version-check "$uv_pin" >&2 || true
    fi
    rm -f "$lock_stamp" "$package_stamp"
    pip_install --no-deps -r requirements.lock >&2 ||
        die "The packages could not be installed (see above); check the network and run this again."
    hash_of requirements.lock >"$lock_stamp"
}

"$venv_python" -c '' 2>/dev/null || make_venv
is_current "$lock_stamp" requirements.lock || install_locked
if ! is_current "$package_stamp" pyproject.toml; then
    # The build backend is pinned in requirements.lock, so this needs no network.
    pip_install --no-deps --no-build-isolation -e . >&2
    hash_of pyproject.toml >"$package_stamp"
fi
export PATH="$PWD/.venv/bin:$PATH"

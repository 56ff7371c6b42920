#!/usr/bin/env bash
# Lint, format, types, floors and docstrings. Runs every check, then fails if one did.
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

failed=()
check() {
    echo "== $*"
    "$@" || failed+=("$1")
}

docstrings() {
    # What a docstring says must be true; it need not repeat what the signature says. So messages about
    # absent arguments (101, 103), returns (201) and yields (402) are dropped, the others are kept.
    { pydoclint --quiet --show-filenames-in-every-violation-message true diffpref scripts/train.py || true; } 2>&1 |
        awk '/^$/ || /DOC(101|201|402)/ || (/DOC103/ && !/in the docstring but not/) { next }
            { print; bad = 1 } END { exit bad }'
}

check ruff check .
check ruff format --check .
check pyright
check lint-imports
check docstrings

if [ ${#failed[@]} -gt 0 ]; then
    echo "checks failed: ${failed[*]}" >&2
    exit 1
fi

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the builder's environment once, then runs build.py with the arguments given (`--help` explains them).
# The environment stands apart from the product's: nothing a device runs depends on it.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv="$here/.venv"
installed="$venv/requirements.txt"  # what the environment was made from

if ! cmp -s "$here/requirements.txt" "$installed"; then
    python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || {
        echo "the model builder needs Python 3.11 to 3.14: set PYTHON=python3.x" >&2
        exit 2
    }
    echo "setting up $venv (once)" >&2
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$installed"
fi
# Crops are aligned by the product's own code, which needs no more than is installed here.
PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}" exec "$venv/bin/python" "$here/build.py" "$@"

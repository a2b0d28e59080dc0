#!/bin/sh
# Makes the virtual environment .venv of this clone, with an extra of pyproject.toml: dev or local.
# The Makefile calls it when .venv lacks the extra or pyproject.toml has changed since.
set -eu

extra=$1
cd "$(dirname "$0")/.."

# The first Python that is recent enough; PYTHON names another.
find_python() {
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    echo "error: no Python 3.11 or later was found. Install one, or name it: make PYTHON=/path/to/python3" >&2
    return 1
}

# Debian ships venv in a package of its own.
make_environment() {
    python=$(find_python)
    echo "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv >/dev/null 2>&1 && return
    version=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing python$version-venv, which Debian keeps apart"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "python$version-venv" >/dev/null
    fi
    "$python" -m venv --clear .venv || {
        echo "error: $python cannot make a virtual environment. As root: apt-get install python$version-venv" >&2
        return 1
    }
}

.venv/bin/python -c 'import pip' 2>/dev/null || make_environment
echo "installing towpath[$extra] into .venv (about half a minute the first time)"
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Uncompiled: of the larger packages most modules are never imported.
.venv/bin/python -m pip install --quiet --no-compile --editable ".[$extra]"
touch ".venv/installed-$extra"
if [ "$extra" = dev ]; then # it contains the other
    touch .venv/installed-local
fi

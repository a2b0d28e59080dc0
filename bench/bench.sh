#!/usr/bin/env bash
# Towpath beside its peers, in one run: bench/bench.sh [arguments of run.py]
# Makes a virtual environment with Towpath and the pinned peers on first use; see README.md.
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
home=${TOWPATH_BENCH_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/towpath/bench}
environment=$home/venv
wanted=$(cat "$repository/pyproject.toml" "$repository/bench/requirements.txt" <(echo "$repository") | cksum)

if [ "$(cat "$environment/made-from" 2>/dev/null)" != "$wanted" ]; then
    echo "Making the benchmark's environment in $environment" >&2
    mkdir -p "$home"
    "${PYTHON:-python3}" -m venv --clear "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check \
        --requirement "$repository/bench/requirements.txt" --editable "$repository[local]"
    echo "$wanted" > "$environment/made-from"
fi

cd "$repository"
TOWPATH_BENCH_HOME=$home exec "$environment/bin/python" -m bench.run "$@"

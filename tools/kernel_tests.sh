#!/usr/bin/env bash
# Build and run tests/c/kernel_tests.c: the C core without Python.
#   tools/kernel_tests.sh                                                    here
#   CC=aarch64-linux-gnu-gcc RUN='qemu-aarch64' tools/kernel_tests.sh        another processor, emulated
set -euo pipefail
cd "$(dirname "$0")/.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
sources=(csrc/core/*.c csrc/ops/*.c tests/c/*.c)
for file in csrc/kernels/*.c; do [ "$file" = csrc/kernels/openblas.c ] || sources+=("$file"); done
static=()
[ -z "${RUN:-}" ] || static=(-static)
"${CC:-cc}" -std=gnu11 -O2 -fopenmp-simd -fno-math-errno -fno-trapping-math -ffp-contract=fast -Wall -Wextra -pthread "${static[@]}" "${sources[@]}" -lm -o "$work/kernel_tests"
${RUN:-} "$work/kernel_tests"

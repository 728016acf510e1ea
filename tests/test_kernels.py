"""Every matrix kernel that this machine has, against float64 and against itself, bit by bit."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from ptagrpo import _core

VARIANTS = _core.kernels_variants()
OURS = [name for name in VARIANTS if name != "openblas"]
DTYPES = ["float32", "bfloat16"]
PRODUCTS = ["forward", "dinput", "dweight"]
SHAPES = [(1, 1, 1), (3, 5, 13), (13, 33, 65), (33, 65, 130), (66, 100, 301), (12, 96, 1100), (130, 31, 33)]


@pytest.fixture(params=VARIANTS)
def variant(request):
    _core.kernels_use(request.param)
    yield request.param
    _core.kernels_use(None)


@pytest.fixture(params=OURS)
def own(request):
    _core.kernels_use(request.param)
    yield request.param
    _core.kernels_use(None)


def to_bf16(x):
    """float32 to bfloat16 bits, round to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), rounded)


def widen(x):
    return (x.astype(np.uint32) << 16).view(np.float32) if x.dtype == np.uint16 else x


def stored(x, dtype):
    return to_bf16(x) if dtype == "bfloat16" else np.array(x, np.float32)


def spaced(x, extra):
    """The same matrix with `extra` elements between its rows."""
    room = np.full((x.shape[0], x.shape[1] + extra), 0x7FC0 if x.dtype == np.uint16 else np.nan, x.dtype)
    room[:, : x.shape[1]] = x
    return room[:, : x.shape[1]]


def placed(x, shift):
    """The same floats, `shift` of them behind the beginning of a cache line."""
    room = np.empty(x.size + 32, np.float32)
    first = -room.ctypes.data // 4 % 16 + shift
    room[first : first + x.size] = x.reshape(-1)
    return room[first : first + x.size].reshape(x.shape)


def operands(product, M, N, K, seed=0):
    """a and b as float32, and the shape of the result."""
    rng = np.random.default_rng(seed)
    x, w, dy = (rng.standard_normal(shape).astype(np.float32) for shape in [(M, K), (N, K), (M, N)])
    return {"forward": (x, w, (M, N)), "dinput": (dy, w, (M, K)), "dweight": (dy, x, (N, K))}[product]


def run(product, dtype, a, b, shape, out="float32", old=None, threads=2, extra=0):
    """A new result; `old` is accumulated on. `extra` elements lie between rows where the contract allows it."""
    first = np.zeros(shape, np.float32) if old is None else old
    result = stored(first, out)
    if extra:
        a = spaced(a, extra)
        b = spaced(b, extra) if product == "dweight" else b
        result = spaced(result, extra) if product != "dweight" else result
    _core.kernels_run(product, dtype, a, b, result, old is not None, threads)
    if extra and product != "dweight":
        gap = result.base[:, shape[1] :]
        assert (gap == 0x7FC0).all() if gap.dtype == np.uint16 else np.isnan(gap).all()
    return np.ascontiguousarray(result)


def exact(product, dtype, a, b):
    """float64 product and the same of absolute values, operands rounded as the compute type wants."""
    a, b = (widen(to_bf16(widen(m)) if dtype == "bfloat16" else m).astype(np.float64) for m in (a, b))
    left, right = {"forward": (a, b.T), "dinput": (a, b), "dweight": (a.T, b)}[product]
    return left @ right, np.abs(left) @ np.abs(right), left.shape[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_float64(variant, product, dtype, shape):
    a, b, size = operands(product, *shape)
    old = np.random.default_rng(1).standard_normal(size).astype(np.float32)
    for kept in DTYPES:
        a_kept = stored(a, kept)
        b_kept = stored(b, kept) if product == "dweight" else b
        want, scale, depth = exact(product, dtype, a_kept, b_kept)
        for out, start, extra in [("float32", None, 0), ("float32", old, 3), ("bfloat16", None, 5)]:
            if product == "dweight" and start is None:
                continue
            got = widen(run(product, dtype, a_kept, b_kept, size, out, start, extra=extra)).astype(np.float64)
            first = 0.0 if start is None else start.astype(np.float64)
            bound = (depth + 2) * 2.0**-23 * (scale + np.abs(first)) + 1e-37
            if out == "bfloat16":
                bound = bound * 1.01 + 2.0**-8 * np.abs(want)
            worst = np.max(np.abs(got - (want + first)) - bound)
            assert worst <= 0, (
                f"{kept} operands, {out} result, accumulate {start is not None}: over by {worst}"
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("product", ["forward", "dinput"])
@pytest.mark.parametrize("depth", [70, 1500, 4700])
def test_a_row_is_the_same_alone_and_among_others(own, product, dtype, depth):
    M, across = 97, 75
    a, b, size = operands(
        product, M, across if product == "forward" else depth, depth if product == "forward" else across
    )
    for out in DTYPES:
        together = run(product, dtype, a, b, size, out)
        for first, count in [(0, 1), (40, 1), (96, 1), (5, 4), (30, 13), (50, 47)]:
            rows = run(product, dtype, a[first : first + count], b, (count, size[1]), out, threads=1)
            assert np.array_equal(rows.view(np.uint8), together[first : first + count].view(np.uint8))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("shape", [(5, 64, 48), (300, 97, 1100), (1100, 70, 130), (40, 4200, 33)], ids=str)
def test_any_number_of_threads_gives_the_same_bits(own, product, dtype, shape):
    a, b, size = operands(product, *shape)
    old = np.random.default_rng(2).standard_normal(size).astype(np.float32)
    one = run(product, dtype, a, b, size, old=old, threads=1)
    for threads in (2, 3, 4):
        assert np.array_equal(one, run(product, dtype, a, b, size, old=old, threads=threads)), threads
    if product != "dweight":
        one = run(product, dtype, a, b, size, "bfloat16", threads=1)
        for threads in (2, 3, 4):
            assert np.array_equal(one, run(product, dtype, a, b, size, "bfloat16", threads=threads)), threads


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_gradient_does_not_depend_on_its_neighbours(own, dtype):
    dy, x, size = operands("dweight", 700, 80, 90)
    whole = run("dweight", dtype, dy, x, size, old=np.zeros(size, np.float32))
    part = np.ascontiguousarray(dy[:, 7:20]), np.ascontiguousarray(x[:, 33:71])
    got = run("dweight", dtype, *part, (13, 38), old=np.zeros((13, 38), np.float32))
    assert np.array_equal(got, whole[7:20, 33:71])


@pytest.mark.parametrize("product", ["dinput", "dweight"])
def test_an_operand_gives_the_same_bits_where_it_stands_and_packed(own, product):
    """Rows of floats that begin cache lines are multiplied where they stand, others are packed first."""
    a, b, size = operands(product, 90, 70, 96)
    zero = np.zeros(size, np.float32)
    there, packed = (run(product, "float32", a, placed(b, shift), size, old=zero) for shift in (0, 4))
    assert np.array_equal(there, packed)


@pytest.mark.parametrize("product", PRODUCTS)
def test_accumulating_goes_on_where_the_sum_stopped(own, product):
    """A sum cut in two is the whole sum: it is one chain (float32; in bfloat16 where the cut is at a step)."""
    M, N, K = 64, 96, 128
    a, b, size = operands(product, M, N, K)
    zero = np.zeros(size, np.float32)
    for dtype in DTYPES:
        whole = run(product, dtype, a, b, size, old=zero)
        cut = 32
        halves = {
            "forward": lambda s: (np.ascontiguousarray(a[:, s]), np.ascontiguousarray(b[:, s])),
            "dinput": lambda s: (np.ascontiguousarray(a[:, s]), np.ascontiguousarray(b[s])),
            "dweight": lambda s: (np.ascontiguousarray(a[s]), np.ascontiguousarray(b[s])),
        }[product]
        first = run(product, dtype, *halves(slice(None, cut)), size, old=zero)
        assert np.array_equal(run(product, dtype, *halves(slice(cut, None)), size, old=first), whole)


@pytest.mark.skipif(not {"avx2", "avx512"} <= set(VARIANTS), reason="needs AVX-512")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("product", PRODUCTS)
def test_kernels_that_fuse_agree_to_the_bit(product, dtype):
    a, b, size = operands(product, 50, 70, 600)
    results = []
    for name in ("avx2", "avx512"):
        _core.kernels_use(name)
        results.append(run(product, dtype, a, b, size, old=np.ones(size, np.float32)))
    _core.kernels_use(None)
    assert np.array_equal(*results)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("product", PRODUCTS)
def test_what_is_not_finite_stays_in_its_row_or_column(own, product, dtype, value):
    for shape in [(13, 33, 65), (5, 7, 31)]:
        a, b, size = operands(product, *shape)
        clean = run(product, dtype, a, b, size, old=np.zeros(size, np.float32))
        for which, at in [("a", (2, 3)), ("a", (-1, -1)), ("b", (1, 0)), ("b", (-1, -1))]:
            m = {"a": a.copy(), "b": b.copy()}
            m[which][at] = value
            got = run(product, dtype, m["a"], m["b"], size, old=np.zeros(size, np.float32))
            touched = np.zeros(size, bool)
            if which == "a":
                touched[at[1] if product == "dweight" else at[0]] = True
            else:
                touched[:, at[0] if product == "forward" else at[1]] = True
            assert not np.isfinite(got[touched]).any()
            with np.errstate(invalid="ignore"):
                want = exact(product, dtype, m["a"], m["b"])[0]
            assert np.array_equal(np.isnan(got), np.isnan(want))
            assert np.array_equal(got[~touched], clean[~touched])


def test_nothing_to_sum_and_nothing_to_do(variant):
    empty = np.zeros((3, 0), np.float32), np.zeros((4, 0), np.float32)
    assert np.array_equal(run("forward", "float32", *empty, (3, 4)), np.zeros((3, 4)))
    ones = np.ones((3, 4), np.float32)
    assert np.array_equal(run("forward", "float32", *empty, (3, 4), old=ones), ones)
    assert run(
        "forward", "bfloat16", np.zeros((0, 8), np.float32), np.ones((4, 8), np.float32), (0, 4)
    ).shape == (0, 4)


def start(**variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("PTAGRPO_SIMD", "PTAGRPO_GEMM")}
    command = f"import sys; sys.path[:0] = {sys.path!r}; import ptagrpo._core as c; print(c.build_info()['kernels'])"
    return subprocess.run(
        [sys.executable, "-c", command], env={**environment, **variables}, capture_output=True, text=True
    )


def test_the_environment_chooses(own):
    names = _core.kernels_use(own)
    found = start(PTAGRPO_SIMD=own)
    assert found.stdout.strip() == str(names), found.stderr


def test_openblas_is_chosen_and_an_unknown_wish_is_refused():
    assert start(PTAGRPO_GEMM="openblas").stdout.strip() == str(
        {"float32": "openblas", "bfloat16": "openblas"}
    )
    refused = start(PTAGRPO_SIMD="neon512")
    assert (
        refused.returncode
        and f"PTAGRPO_SIMD=neon512: this machine and build have {', '.join(OURS)}" in refused.stderr
    )
    refused = start(PTAGRPO_GEMM="mkl")
    assert refused.returncode and "PTAGRPO_GEMM=mkl: expected own or openblas" in refused.stderr


def test_hooks_of_the_benchmark():
    for product in PRODUCTS:
        assert 0 < _core.kernels_benchmark(product, "bfloat16", "float32", 12, 64, 64, 3, 2) < 10

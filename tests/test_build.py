"""What the build says about itself, and what an import costs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import patience

import ptagrpo
from ptagrpo import _core

ROOT = Path(__file__).resolve().parent.parent


def run(code, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_build_info():
    info = ptagrpo.build_info()
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert declared is not None
    assert info["version"] == ptagrpo.__version__ == declared[1]
    assert set(info) == {
        "version",
        "compiler",
        "blas",
        "blas_corename",
        "simd",
        "kernels",
        "threads",
        "sanitize",
    }
    assert re.search(r"\d+\.\d+", info["compiler"])
    assert "OpenBLAS" in info["blas"] and info["blas_corename"]
    assert info["simd"] in {"baseline", "avx2", "avx512"}
    assert set(info["kernels"]) == {"float32", "bfloat16"} and all(info["kernels"].values())
    assert info["threads"] == _core.get_num_threads() >= 1


def test_threads_follow_the_environment(tmp_path):
    answer = run("from ptagrpo import _core; print(_core.get_num_threads())", tmp_path, OMP_NUM_THREADS="5")
    assert answer.stdout.strip() == "5", answer.stderr


def test_import_is_quick_and_light(tmp_path):
    code = (
        "import sys, time; t = time.perf_counter(); import ptagrpo; ptagrpo.build_info();"
        "print(time.perf_counter() - t); print([m for m in ('torch', 'transformers', 'matplotlib', 'sympy')"
        " if m in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        answer = run(code, tmp_path)
        assert answer.returncode == 0, answer.stderr
        took, heavy = answer.stdout.splitlines()
        seconds.append(float(took))
        assert heavy == "[]"
    assert min(seconds) < patience(1.0)


def test_the_extension_needs_no_blas_package_at_run_time(tmp_path):
    if Path(_core.__file__).parent.joinpath("libptagr_openblas.so").exists():
        code = (
            "import sys; sys.modules['scipy_openblas32'] = None; from ptagrpo import _core;"
            "maps = open('/proc/self/maps').read();"
            "print('libptagr_openblas' in maps, 'libscipy_openblas.so' in maps, 'libgomp' in maps)"
        )
        answer = run(code, tmp_path)
        assert answer.stdout.split() == ["True", "False", "False"], answer.stderr
    else:
        assert "PTAGRPO_BLAS" in (ROOT / "setup.py").read_text()
        pytest.skip("built against the system's OpenBLAS (PTAGRPO_BLAS=system)")


def test_interpreters_of_their_own_are_refused_rather_than_crashed():
    interpreters = pytest.importorskip("_interpreters", reason="needs Python 3.13 or newer")
    which = interpreters.create()
    try:
        error = interpreters.exec(which, "import ptagrpo._core")
        assert error is not None
    finally:
        interpreters.destroy(which)


def test_two_copies_of_the_module_do_not_share_types():
    """Multi-phase initialisation: a second module object has types and state of its own."""
    spec = importlib.util.spec_from_file_location("ptagrpo._core", _core.__file__)
    assert spec is not None and spec.loader is not None
    second = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(second)
    assert second.Model is not _core.Model
    assert second.build_info() == _core.build_info()

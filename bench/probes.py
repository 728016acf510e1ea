"""Peak arithmetic and read bandwidth of this machine (bench/probes.c), measured in the same run as the rows."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class Probes:
    """Compiled at first use. Every question measures anew, and the best of the row so far is the answer: a probe that
    other work on the machine disturbed would make a share of the peak look better than it is."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory | None = None
        self._best: dict[int, dict[str, float]] = {}

    def forget(self) -> None:
        """A new row: machines drift."""
        self._best = {}

    def measure(self, threads: int = 0) -> dict[str, float]:
        """GFLOP/s by name ("float32", "bfloat16": the best bfloat16 instruction, "bfloat16 dot", "bfloat16 tile") and
        "bandwidth" in GB/s. Empty where no C compiler is installed or the CPU is no x86. Rows ask before and after.
        """
        count = threads or len(os.sched_getaffinity(0))
        found = self.now(count)
        if not found:
            return {}
        best = self._best.setdefault(count, {})
        best |= {name: max(value, best.get(name, 0.0)) for name, value in found.items()}
        return dict(best)

    def now(self, threads: int = 0) -> dict[str, float]:
        """As `measure`, of this moment alone."""
        program = self._program()
        if program is None:
            return {}
        count = threads or len(os.sched_getaffinity(0))
        output = subprocess.run([program, str(count)], check=True, capture_output=True, text=True).stdout
        found = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in output.splitlines())}
        found["bfloat16"] = max(
            value for name, value in found.items() if name.startswith(("bfloat16", "float32"))
        )
        return found

    def _program(self) -> Path | None:
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if compiler is None:
            return None
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ptagrpo-probes-")
            target = Path(self._folder.name) / "probes"
            command = [compiler, "-O3", "-march=native", "-fopenmp", str(SOURCE), "-o", str(target)]
            if subprocess.run(command, capture_output=True).returncode:
                return None
        target = Path(self._folder.name) / "probes"
        return target if target.exists() else None

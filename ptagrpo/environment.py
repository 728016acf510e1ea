"""Facts about where a process runs: machine, build of the core, threads, versions. Stored with every run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from . import _core
from .errors import ConfigError

PACKAGES = (
    "numpy", "ml_dtypes", "safetensors", "tokenizers", "huggingface_hub", "jinja2", "PyYAML", "math-verify", "sympy",
    "typer", "rich", "tqdm", "datasets", "pyarrow", "openai", "Pillow", "tensorboardX", "trackio", "wandb",
)  # fmt: skip
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE",
)  # fmt: skip
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
_CGROUP = Path("/sys/fs/cgroup")
UNITS = {"": 1, "B": 1, **{u + s: 1024**p for p, u in enumerate("KMGT", 1) for s in ("", "B", "IB")}}


def facts() -> dict[str, Any]:
    """Everything below in one mapping that JSON can hold."""
    return {
        "build": _core.build_info(),
        "machine": machine(),
        "threads": threads(),
        "python": sys.version.split()[0],
        "packages": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that are installed, of those that this one uses."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """System, processor and the instruction sets of `CPU_FLAGS` that it has."""
    model, flags = processor(_read(Path("/proc/cpuinfo")) or "")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": model or platform.processor() or "unknown",
        "instructions": [flag for flag in CPU_FLAGS if flag in flags],
    }


def processor(cpuinfo: str) -> tuple[str, set[str]]:
    """Model name and flags from the text of /proc/cpuinfo.

    >>> processor("model name\\t: Some CPU\\nflags\\t\\t: fpu avx2\\n") == ("Some CPU", {"fpu", "avx2"})
    True
    """
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.M)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.M)
    return (name[1].strip() if name else "", set(flags[1].split()) if flags else set())


def threads() -> dict[str, Any]:
    """Threads in use, processors that this process may use, the control group's limit, and variables that count."""
    return {
        "used": _core.get_num_threads(),
        "allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "present": os.cpu_count() or 1,
        "quota": cpu_quota(),
        "variables": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
    }


def cpu_quota(root: Path = _CGROUP) -> float | None:
    """Processors' worth of time that the control group allows; None: no limit, or not known."""
    both = (_read(root / "cpu.max") or "").split()
    if len(both) != 2:
        both = [
            (_read(root / "cpu" / name) or "").strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        ]
    quota, period = both
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def system_memory() -> tuple[int, int]:
    """(total, available) bytes of this machine; half, where the system does not say what is available (macOS)."""
    found = {}
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) * 1024 if value.split() else 0
    if "MemTotal" in found:
        return found["MemTotal"], found.get("MemAvailable", found.get("MemFree", 0))
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total, total // 2


def resident_memory() -> int:
    """Bytes that this process has in memory now; where the system does not say (macOS), the most that it had."""
    pages = (_read(Path("/proc/self/statm")) or "").split()
    if len(pages) > 1:
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # BSD counts bytes, Linux KiB


def huge_pages() -> str | None:
    """How the system hands out transparent huge pages: always, madvise or never; None: not known."""
    match = re.search(r"\[(\w+)\]", _read(Path("/sys/kernel/mm/transparent_hugepage/enabled")) or "")
    return match[1] if match else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def parse_memory(text: str | int, total: int, name: str = "max_memory") -> int:
    """Bytes of "12GiB", "800 MB", "50%" (of `total`) or a number of bytes. Units count in powers of 1024.

    Raises:
        ConfigError: something else; the message calls it `name`.
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*|%)\s*", str(text))
    unit = match[2].upper() if match else None
    try:
        number = float(match[1]) if match else -1.0
    except ValueError:
        number = -1.0
    if number <= 0 or (unit != "%" and unit not in UNITS):
        raise ConfigError(f"{name}: expected something like '12GiB' or '50%', got {text!r}")
    return int(number * total / 100 if unit == "%" else number * UNITS[unit])


def machine_memory() -> tuple[int, int]:
    """(total, available) bytes of this machine, or of the control group that the process runs in."""
    total, available = system_memory()
    for limit_file, usage_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            limit, usage = (Path(file).read_text().strip() for file in (limit_file, usage_file))
        except OSError:
            continue
        if limit.isdigit() and int(limit) < total:
            total, available = int(limit), min(available, int(limit) - int(usage))
    return total, max(0, available)


def gib(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1024**3:.2f} GiB"

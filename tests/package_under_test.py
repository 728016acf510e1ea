"""Test the tree when it has been built in place, else the installed package. Imported first by conftest.py.

A tree without ptagrpo/_core*.so cannot be imported, but `python -m pytest` and subprocesses that start in the
repository root would find it before the installed package.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def choose_package() -> None:
    """Set sys.path and the environment of subprocesses accordingly."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [entry for entry in inherited if entry and Path(entry).resolve() != ROOT]
    if any(ROOT.glob("ptagrpo/_core*.so")):
        sys.path.insert(0, str(ROOT))
        paths.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ["PYTHONSAFEPATH"] = "1"  # Python 3.11+: `python -m` does not put the working directory first


def heed_ctrl_c() -> None:
    """Undo an ignored SIGINT, which shells give to background jobs and children inherit: tests interrupt runs."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


choose_package()
heed_ctrl_c()

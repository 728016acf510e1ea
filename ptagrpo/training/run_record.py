"""run.json in the folder of a run: its resolved configuration, model and environment, and when it was started.

A resumed run rewrites it with what holds now and adds its start to the list; nothing is read back from it.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from .. import environment
from ..io import atomic_write_json
from ..policy import Policy
from .options import Config

FILE = "run.json"


def write(root: Path, trainer: str, args: Config, policy: Policy, step: int) -> None:
    """Write run.json: `step` completed steps are there already."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    starts = _starts(root / FILE) if step else []
    atomic_write_json(
        root / FILE,
        {
            "trainer": trainer,
            "class": type(args).__name__,
            "settings": args.to_dict(),
            "model": {**policy.config.to_dict(), "parameters": policy.num_parameters, "dtype": policy.dtype},
            "environment": environment.facts(),
            "starts": [*starts, {"step": step, "time": now}],
        },
    )


def _starts(path: Path) -> list[Any]:
    """The starts that an earlier run.json lists; none where it is missing or damaged."""
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))["starts"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return starts if isinstance(starts, list) else []

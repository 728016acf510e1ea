"""`ptagrpo quickstart`."""

from __future__ import annotations

from .main import Interrupted


def run(output_dir: str, *, seed: int, quick: bool, progress: bool) -> None:
    """Run the quickstart; it prints its own table."""
    from ..quickstart import run_quickstart

    try:
        run_quickstart(output_dir, seed=seed, quick=quick, progress=progress)
    except KeyboardInterrupt:
        raise Interrupted(f"The state is saved in {output_dir}; the same command goes on") from None

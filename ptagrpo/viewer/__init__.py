"""Watching a run: one self-contained page of its curves and plan trees, finished or still going.

ptagrpo view RUN              writes RUN/view.html
ptagrpo.load_trees("RUN")     the stored plan trees, as records
"""

from __future__ import annotations

from .page import write_page
from .reading import RunFiles, load_trees
from .watch import watch

__all__ = ["RunFiles", "load_trees", "watch", "write_page"]

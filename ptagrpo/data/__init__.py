"""Data sets in, records out: RL questions, worked solutions, SFT rows from lists, files or the hub.

`formats/` holds one file per training-set format, `readers.py` the file kinds, `chains.py` the built-in task.
"""

from __future__ import annotations

from .formats import Trace, all_formats
from .loading import check_sft_row, load_questions, load_sft_rows, load_traces
from .readers import SourceRow, read_rows

__all__ = [
    "SourceRow",
    "Trace",
    "all_formats",
    "check_sft_row",
    "load_questions",
    "load_sft_rows",
    "load_traces",
    "read_rows",
]

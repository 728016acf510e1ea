"""Data sets in, records out: RL questions, worked solutions, SFT rows from lists, files or the hub.

`formats/` holds one file per training-set format, `readers.py` the file kinds, `chains.py` the built-in task,
`contamination.py` the comparison with the benchmarks.
"""

from __future__ import annotations

from .contamination import ContaminationReport, check_contamination, effective_mode, screen
from .formats import Hub, RowFormat, Trace, Unusable, all_formats
from .loading import check_sft_row, load_questions, load_sft_rows, open_rows, questions_of
from .readers import SourceRow, read_rows
from .traces import load_traces, read_traces

__all__ = [
    "ContaminationReport",
    "Hub",
    "RowFormat",
    "SourceRow",
    "Trace",
    "Unusable",
    "all_formats",
    "check_contamination",
    "check_sft_row",
    "effective_mode",
    "load_questions",
    "load_sft_rows",
    "load_traces",
    "open_rows",
    "questions_of",
    "read_rows",
    "read_traces",
    "screen",
]

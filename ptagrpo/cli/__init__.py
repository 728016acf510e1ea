"""The command line `ptagrpo`. Commands read arguments and files, call the library, and say what came out.

`app.py` declares the commands, `arguments.py` reads flags and YAML, the other files do a command's work.
Heavy modules are imported by the command that needs them, so that `ptagrpo --version` and `--help` answer at
once.
"""

from __future__ import annotations

from .main import main

__all__ = ["main"]

"""Timing against other libraries: `python -m bench` (see docs/performance.md)."""

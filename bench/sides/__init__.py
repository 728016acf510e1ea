"""One engine each, as a class `Side` that runs in a worker process (bench/worker.py).

A method that is timed returns a dict with `seconds`. Numbers that must agree between sides are returned beside it.
"""

"""Time limits of tests. A machine of tests may be shared, throttled or under a sanitizer, so a limit on seconds is
stretched: it is there to catch what takes a hundred times too long. PTAGRPO_TEST_SLACK=1 checks the promise itself."""

import os
import time

SLACK = float(os.environ.get("PTAGRPO_TEST_SLACK", "8"))


def patience(seconds: float) -> float:
    """The limit to compare a measured time with, in seconds."""
    return seconds * SLACK


def growth(function, make, size: int) -> float:
    """How many times longer `function(make(4 * size))` takes than `function(make(size))`, processor time, the least of
    three each: 4 where time is linear, 16 where it is quadratic. Where the longer takes under 20 ms: 4."""

    def least(text) -> float:
        times = []
        for _ in range(3):
            start = time.process_time()
            function(text)
            times.append(time.process_time() - start)
        return min(times)

    longer = least(make(4 * size))
    return 4.0 if longer < 0.02 else longer / least(make(size))

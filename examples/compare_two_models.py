"""Is model B better than model A? The same questions, a paired test, and the smallest difference that would have shown.

    python examples/compare_two_models.py MODEL_A MODEL_B QUESTIONS.jsonl      rows {"question", "answer"}
"""

import sys

import numpy as np

import ptagrpo
from ptagrpo.statistics import detectable_difference, mcnemar, sign_flip

SAMPLES = 4
shares = []
for folder in sys.argv[1:3]:
    result = ptagrpo.evaluate(ptagrpo.load(folder), sys.argv[3], k=SAMPLES, kind="exact", prompt_style="raw",
                              temperature=1.0, top_p=1.0, max_new_tokens=96, progress=False)  # fmt: skip
    right = np.array([row["status"] == "correct" for row in result.rows]).reshape(-1, SAMPLES)
    shares.append(right)
    low, high = result.interval.low, result.interval.high
    print(f"{folder}: {100 * right.mean():.1f} % right (95 % interval {100 * low:.1f} to {100 * high:.1f})")

difference = shares[1].mean(axis=1) - shares[0].mean(axis=1)   # of each question: samples of one are not independent
error = difference.std(ddof=1) / np.sqrt(len(difference))
first = [right[:, 0] for right in shares]
print(f"B minus A: {100 * difference.mean():+.1f} points; p = {sign_flip(difference):.3f} (sign flips over questions)")
only_a, only_b = int((first[0] & ~first[1]).sum()), int((first[1] & ~first[0]).sum())
print(f"first responses: only A right on {only_a}, only B on {only_b}; p = {mcnemar(only_a, only_b):.3f} (McNemar)")
print(f"a difference below {100 * detectable_difference(float(error)):.1f} points would usually have been missed")

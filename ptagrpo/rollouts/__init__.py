"""Rollouts: from questions to sampled groups, flat (GRPO) or as plan trees (PTA-GRPO).

Which log-probability is which. Every sampled token carries two: `Segment.logprobs` under the temperature
alone, and `Segment.sampling_logprobs` under the distribution it was actually drawn from (after top-k, top-p,
min-p). Training uses the first, as "old" in the ratio: it is the one the trainer's forward pass recomputes
from the same tokens, so ratio and clipping compare like with like. The paper samples with top-p 1, where both
are equal. A ratio of truncated distributions would also need, for every position, the set of tokens that
survived the truncation, and a policy update can move the trained token out of that set, where its
log-probability is minus infinity (TRL issue 6789).
"""

from .flat import sample_flat
from .params import SamplingParams
from .prompts import encode_prompt
from .tree import sample_trees

__all__ = ["SamplingParams", "encode_prompt", "sample_flat", "sample_trees"]

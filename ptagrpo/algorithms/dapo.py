"""DAPO: clip-higher, dynamic sampling, token-level mean, overlong shaping (Yu et al. 2025; arXiv 2503.14476).

Dynamic sampling keeps only groups in which some responses are right and some wrong, and samples other
questions in their place. Overlong shaping takes up to 1 from the reward over the last fifth of the length
limit (the paper: 4,096 of 20,480 tokens).
"""

from ..records import Group
from .spec import AlgorithmSpec


def keep_group(group: Group) -> bool:
    """Whether the group teaches anything: its responses are neither all right nor all wrong (DAPO, Eq. 11).

    Where the questions carry no reference answer, whether the rewards differ at all. Rewards that are not
    applicable (NaN) do not count.
    """
    verdicts = {response.correct for response in group.responses} - {None}
    if verdicts:
        return len(verdicts) > 1
    return len({response.reward for response in group.responses if response.reward == response.reward}) > 1


SPEC = AlgorithmSpec(
    name="dapo",
    tree=False,
    defaults={
        "num_generations": 12,
        "loss_type": "dapo",
        "scale_rewards": "group",
        "epsilon": 0.2,
        "epsilon_high": 0.28,
        "beta": 0.0,
        "dynamic_sampling": True,
        "overlong_cache_fraction": 0.2,
        "plan_reward_weight": 0.0,
        "structure_reward": 0.0,
        "length_reward_weight": 0.0,
    },
    keep_group=keep_group,
)

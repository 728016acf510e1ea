"""GRPO: group-relative advantages on flat groups (Shao et al. 2024, DeepSeekMath; arXiv 2402.03300).

Mean over the tokens of each response, then over responses; advantages divided by the group's standard
deviation. The KL term is off by default, as in TRL; set `beta` for it.
"""

from .spec import AlgorithmSpec

SPEC = AlgorithmSpec(
    name="grpo",
    tree=False,
    defaults={
        "num_generations": 12,
        "loss_type": "grpo",
        "scale_rewards": "group",
        "epsilon": 0.2,
        "epsilon_high": None,
        "beta": 0.0,
        "plan_reward_weight": 0.0,
        "structure_reward": 0.0,
        "length_reward_weight": 0.0,
    },
)

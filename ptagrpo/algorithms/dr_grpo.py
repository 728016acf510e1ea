"""Dr. GRPO: GRPO without its length and difficulty biases (Liu et al. 2025; arXiv 2503.20783).

The loss is divided by a constant instead of each response's length, and advantages are not divided by the
group's standard deviation.
"""

from .spec import AlgorithmSpec

SPEC = AlgorithmSpec(
    name="dr_grpo",
    tree=False,
    defaults={
        "num_generations": 12,
        "loss_type": "dr_grpo",
        "scale_rewards": "none",
        "epsilon": 0.2,
        "epsilon_high": None,
        "beta": 0.0,
        "plan_reward_weight": 0.0,
        "structure_reward": 0.0,
        "length_reward_weight": 0.0,
    },
)

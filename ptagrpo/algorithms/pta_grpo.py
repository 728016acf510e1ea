"""PTA-GRPO: plan trees, and a reward for plans under which reasoning ends right.

Dou et al. 2026, arXiv 2510.01833.

4 plans x 3 chains of thought for each question (A.10), the rewards of Eqs. 2 to 8 with the paper's beta = 0.5
for the plan, advantages over all m x z responses (Eq. 10). The paper leaves the loss normalisation open
(Eq. 9 as printed has none, `loss_type="sum"`); the default is the mean over all tokens, under which tokens of
long and short responses weigh the same. tau and alpha are open too; see `rewards.RewardSettings`.
"""

from .spec import AlgorithmSpec

SPEC = AlgorithmSpec(
    name="pta_grpo",
    tree=True,
    defaults={
        "num_plans": 4,
        "cots_per_plan": 3,
        "loss_type": "dapo",
        "scale_rewards": "group",
        "std_correction": 0,
        "epsilon": 0.2,
        "epsilon_high": None,
        "beta": 0.0,
        "plan_reward_weight": 0.5,
        "plan_temperature": 0.3,
        "structure_reward": 0.2,
        "length_reward_weight": 0.1,
        "length_reward_on": "all",
    },
)

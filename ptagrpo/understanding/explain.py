"""From metrics to sentences: what is wrong with a run, how one sees it, and what to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """kind: a short name, the same for the same trouble. text: what, the value, what to do."""

    kind: str
    text: str


def explain(metrics: Metrics) -> list[Finding]:
    """What a row of metrics gives reason to say, the most harmful first; empty for a healthy run.

    Args:
        metrics: a row of metrics.jsonl, or any mapping with some of its names.

    >>> [finding.kind for finding in explain({"plan/leak_frac": 0.4, "plan/tie_frac": 0.2})]
    ['leak']
    """
    return [
        Finding(rule.kind, rule.text(metrics))
        for rule in _RULES
        if all(name in metrics for name in rule.needs) and rule.holds(metrics)
    ]


@dataclass(frozen=True)
class _Rule:
    kind: str
    needs: tuple[str, ...]
    holds: Callable[[Metrics], bool]
    text: Callable[[Metrics], str]


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


_OUTCOME, _PLAN = "plan/advantage_share/outcome", "plan/advantage_share/plan"
_SILENT, _ZERO = "frac_no_outcome_signal", "frac_reward_zero_std"

_RULES = (
    _Rule(
        "no_signal",
        (_ZERO,),
        lambda m: m[_ZERO] >= 0.9,
        lambda m: (
            f"In {_percent(m[_ZERO])} of the groups all rewards are equal ({_ZERO}): they move nothing. "
            "Take easier questions if the reward is low, harder ones if it is high, or dynamic_sampling=True."
        ),
    ),
    _Rule(
        "hidden_no_signal",
        (_SILENT, _ZERO, _OUTCOME),
        lambda m: m[_SILENT] >= 0.5 and m[_SILENT] - m[_ZERO] >= 0.3,
        lambda m: (
            f"In {_percent(m[_SILENT])} of the groups all responses are right or all are wrong ({_SILENT}), "
            f"but only {_percent(m[_ZERO])} have equal rewards: in the others the update follows length and "
            "format alone, at full size. Lower length_reward_weight, set length_reward_on='correct', use "
            "scale_rewards='none', or take questions of another difficulty."
        ),
    ),
    _Rule(
        "outcome_drowned",
        (_OUTCOME,),
        lambda m: m[_OUTCOME] < 0.3,
        lambda m: (
            f"Only {_percent(max(0.0, m[_OUTCOME]))} of the advantage comes from right answers ({_OUTCOME}). "
            "Look which plan/advantage_share/... is large and lower the weight of that reward."
        ),
    ),
    _Rule(
        "leak",
        ("plan/leak_frac",),
        lambda m: m["plan/leak_frac"] >= 0.1,
        lambda m: (
            f"{_percent(m['plan/leak_frac'])} of the plans state an answer (plan/leak_frac): the model "
            "calculates in the plan, and the plan reward pays for it. Shorten max_plan_length, punish it with "
            "a reward function, or start from plans without results (`ptagrpo distill` refuses the others)."
        ),
    ),
    _Rule(
        "unclosed",
        ("plan/unclosed_frac",),
        lambda m: m["plan/unclosed_frac"] >= 0.3,
        lambda m: (
            f"{_percent(m['plan/unclosed_frac'])} of the responses do not close their plan "
            "(plan/unclosed_frac): chains then fork in the middle of a plan and its score means little. Train "
            "the cold start longer, raise max_plan_length, or keep structure_reward on."
        ),
    ),
    _Rule(
        "ties",
        ("plan/tie_frac",),
        lambda m: m["plan/tie_frac"] >= 0.8 and m.get("plan/success_mean", 0.0) < 0.9,
        lambda m: (
            f"In {_percent(m['plan/tie_frac'])} of the questions all plans score alike (plan/tie_frac): the "
            "plan reward tells none of them from another. More cots_per_plan give finer scores; questions "
            "that are neither solved nor hopeless give different ones."
        ),
    ),
    _Rule(
        "one_plan",
        ("plan/diversity",),
        lambda m: m["plan/diversity"] < 0.1 and m.get("plan/success_mean", 0.0) < 0.7,
        lambda m: (
            f"Nearly all plans of a question are the same text (plan/diversity {m['plan/diversity']:.2f}): "
            "there is nothing to choose between. Raise temperature, or add a KL term (beta) before it happens."
        ),
    ),
    _Rule(
        "plan_does_not_matter",
        ("plan/variance_share", "plan/variance_within", _PLAN),
        lambda m: m["plan/variance_share"] < 0.02 and m["plan/variance_within"] > 0.05 and m[_PLAN] > 0.1,
        lambda m: (
            "Which plan was drawn does not change how often reasoning ends right (plan/variance_share "
            f"{m['plan/variance_share']:.2f}), yet the plan reward causes {_percent(m[_PLAN])} of the "
            "advantage: that part is noise. Lower plan_reward_weight, or draw more cots_per_plan."
        ),
    ),
    _Rule(
        "no_dependence",
        ("plan/hsic", "plan/hsic_normalized", "plan/hsic_null95", "plan/success_mean"),
        lambda m: (
            m["plan/success_mean"] >= 0.3
            and m["plan/hsic_normalized"] < 0.1
            and m["plan/hsic"] < m["plan/hsic_null95"]
        ),
        lambda m: (
            f"{_percent(m['plan/success_mean'])} of the answers are right, yet they depend on the true ones "
            f"no more than shuffled ones would (plan/hsic {m['plan/hsic']:.3g}, chance "
            f"{m['plan/hsic_null95']:.3g}): the policy may have settled on the most frequent answer. Look at "
            "the responses."
        ),
    ),
)

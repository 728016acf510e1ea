"""What is compared with what: methods, values of one option, or the method without one of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError, did_you_mean
from ..training import PTAGRPOConfig
from .spec import BASE, StudySpec, Variant, check_options

START = Variant("start", None)
# Short names of what one sweeps, as in the paper.
ALIASES = {
    "m": "num_plans", "z": "cots_per_plan", "tau": "plan_temperature", "alpha": "length_reward_weight",
    "plan_weight": "plan_reward_weight", "data": "train_questions",
}  # fmt: skip
Pairs = list[tuple[str, str]]


def compare(spec: StudySpec, methods: Sequence[str]) -> tuple[list[Variant], Pairs]:
    """Methods by name; the first is compared with each of the others.

    Raises:
        ConfigError: fewer than two, one twice, or an unknown one.
    """
    if len(methods) < 2 or len(set(methods)) != len(methods):
        raise ConfigError(
            f"compare: expected two or more different methods, got {', '.join(methods) or 'none'}"
        )
    variants = [spec.method(name) for name in methods]
    return variants, [(methods[0], other) for other in methods[1:]]


def sweep(spec: StudySpec, over: Sequence[str], method: str = "pta_grpo") -> tuple[list[Variant], Pairs]:
    """One option at a time, the others as the study has them; each value is compared with the first.

    Args:
        over: "name=value,value,..." with an option of PTAGRPOConfig, a short name (m, z, tau, alpha,
            plan_weight, data), or split=MxZ,... for numbers of plans and chains together.

    Raises:
        ConfigError: an unknown name, no values, or a value that is none of the option.
    """
    base = spec.method(method)
    variants: list[Variant] = []
    pairs: Pairs = []
    for entry in over:
        name, equals, listed = entry.partition("=")
        values = [value.strip() for value in listed.split(",") if value.strip()]
        if not equals or not values:
            raise ConfigError(f"sweep: --over: expected name=value,value,..., got {entry!r}")
        made = [_swept(base, name.strip(), value) for value in values]
        variants += made
        pairs += [(variant.name, made[0].name) for variant in made[1:]]
    names = [variant.name for variant in variants]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"sweep: expected one or more different values, got {', '.join(names) or 'none'}")
    return variants, pairs


def _swept(base: Variant, name: str, value: str) -> Variant:
    label = f"{name}={value}"
    if name == "split":
        plans, times, chains = value.lower().partition("x")
        if not times or not plans.isdigit() or not chains.isdigit():
            raise ConfigError(f"sweep: split: expected plans x chains as in 4x3, got {value!r}")
        changes = {"num_plans": int(plans), "cots_per_plan": int(chains)}
        return Variant(label, base.algorithm, {**base.changes, **changes})
    option = ALIASES.get(name, name)
    if option == "train_questions":
        if not value.isdigit() or int(value) < 1:
            raise ConfigError(f"sweep: data: expected a number of training questions, got {value!r}")
        return Variant(label, base.algorithm, base.changes, train_questions=int(value))
    known = PTAGRPOConfig.options()
    if option not in known:
        names = [*ALIASES, "split", *known]
        raise ConfigError(f"sweep: there is nothing to sweep called {name!r}.{did_you_mean(name, names)}")
    check_options("sweep", {option: value})
    prepared = PTAGRPOConfig._prepare({option: value})
    return Variant(label, base.algorithm, {**base.changes, option: prepared[option]})


def ablate(spec: StudySpec, method: str = "pta_grpo") -> tuple[list[Variant], Pairs]:
    """The method in full, and without each of its parts (the paper's Table 3)."""
    full = spec.method(method)

    def without(name: str, **changes: Any) -> Variant:
        return Variant(name, full.algorithm, {**full.changes, **changes})

    variants = [
        Variant("full", full.algorithm, full.changes),
        Variant("without_sft", full.algorithm, full.changes, start=BASE),
        without("without_r_format", structure_reward=0.0, length_reward_weight=0.0),
        without("without_r_analytic", plan_reward_weight=0.0),
    ]
    return variants, [("full", variant.name) for variant in variants[1:]]

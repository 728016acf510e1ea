"""What a trained model replaces: ways of prompting an untrained one, as modes of the evaluation.

    cot                one chain of thought a response; the figure is avg@k
    self_consistency   k chains of thought and a vote (Wang et al. 2023); the figure is maj@k
    plan               plan, then act: a plan, reasoning under it and an answer in one response; avg@k

They are compared at equal tokens: a vote over k responses costs k times the tokens of one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Prompting:
    """One mode. prompt_style: of `make_prompt`. votes: the figure is maj@k, not avg@k."""

    name: str
    prompt_style: str
    votes: bool = False


MODES = {
    mode.name: mode
    for mode in (
        Prompting("cot", "cot"),
        Prompting("self_consistency", "cot", votes=True),
        Prompting("plan", "plan"),
    )
}


def prompting_mode(name: str, k: int) -> Prompting:
    """The mode of that name for k responses a question.

    Raises:
        ConfigError: an unknown name, or a vote among fewer than two responses.

    >>> prompting_mode("self_consistency", 8).prompt_style
    'cot'
    """
    if name not in MODES:
        raise ConfigError(
            f"prompting: got {name!r}, expected one of {', '.join(MODES)}.{did_you_mean(name, MODES)}"
        )
    if MODES[name].votes and k < 2:
        raise ConfigError(
            f"prompting '{name}' votes among k responses: got k = {k}, need 2 or more (try --k 8)"
        )
    return MODES[name]

"""The quickstart from beginning to end: base, cold start, PTA-GRPO, GRPO, held-out answers, report.

Killed at any instant, it goes on where it was when started again with the same output folder and settings:
every stage is a trainer run with its own folder and `resume_from_checkpoint="auto"`, and what lies between
the stages takes seconds and is simply done again.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ..data import chains
from ..errors import ConfigError
from ..io import atomic_write_json, atomic_write_text, write_jsonl
from ..policy import Policy
from . import stages
from .report.files import write_report
from .report.terminal import example, print_summary
from .results import HeldOut, Paired, Share, paired, percent
from .settings import QuickstartSettings

STATE_FILE = "quickstart.json"


@dataclass
class Summary:
    """What a quickstart found.

    models: held-out answers of "Base", "Cold start", "PTA-GRPO", "GRPO", over the same questions.
    gain: PTA-GRPO minus the cold start; versus: PTA-GRPO minus GRPO; both paired by question.
    reasoning: share of right answers that the base gives under the right plan, when training of it ended.
    rounds: rounds of base training beyond the first. seconds: wall time by stage. tokens: sampled and trained
        in RL.
    files: what was written, by name.
    """

    seed: int
    models: dict[str, HeldOut]
    gain: Paired
    gain_grpo: Paired
    versus: Paired
    reasoning: Share
    rounds: int
    seconds: dict[str, float]
    tokens: dict[str, float]
    settings: QuickstartSettings
    quick: bool
    files: dict[str, Path] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seed": self.seed,
            "quick": self.quick,
            "settings": asdict(self.settings),
            "held_out": {name: model.as_dict() for name, model in self.models.items()},
            "pta_grpo_minus_cold_start": self.gain.as_dict(),
            "grpo_minus_cold_start": self.gain_grpo.as_dict(),
            "pta_grpo_minus_grpo": self.versus.as_dict(),
            "base_reasoning_under_right_plan": self.reasoning.as_dict(),
            "extra_base_rounds": self.rounds,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }


class _Clock:
    """Wall time by stage: `with clock("base"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def run_quickstart(
    output_dir: str | Path = "quickstart_output",
    *,
    seed: int = 0,
    quick: bool = False,
    settings: QuickstartSettings | None = None,
    progress: bool = True,
    console: Console | None = None,
) -> Summary:
    """Train a small model from nothing through both stages and write what came out to `output_dir`.

    Args:
        output_dir: gets model/ (a Hugging Face folder, the policy after PTA-GRPO), metrics.jsonl,
            results.json, curves.png, trees.html, and a folder per training stage with its checkpoints. A run
            that was killed goes on.
        seed: of the weights, the data, the order of rows and all draws.
        quick: a smoke test of seconds, without any claim to a result.
        settings: other amounts of everything; default `QuickstartSettings()`, or `.quick()`.
        progress: progress bars. console: where to write; default the terminal.

    Raises:
        ConfigError: `output_dir` holds a quickstart with another seed or other settings.
    """
    settings = settings or (QuickstartSettings.quick() if quick else QuickstartSettings())
    console = console or Console()
    root, clock = Path(output_dir), _Clock()
    _claim(root, {"seed": seed, "settings": asdict(settings)})
    say = console.print

    say("\n[bold]ptagrpo quickstart[/bold]: a model of 164 thousand random numbers learns to plan.\n")
    say(example(seed))
    say("\n[bold]1  Base[/bold]: right plans and right reasoning, until looking things up and adding works")
    policy = stages.new_policy(seed)
    metrics: dict[str, list[dict[str, Any]]] = {}
    with clock("base"):
        metrics["base"] = stages.train_base(policy, settings, root / "base", seed, progress=progress)
        reasoning, rounds = _improve_base(policy, settings, root, seed, metrics, say, progress)

    test = chains.questions(settings.held_out, split="test", seed=4_000_000 + seed)
    models: dict[str, HeldOut] = {}

    def answer(model: Policy, name: str) -> None:
        with clock("held-out answers"):
            models[name] = stages.answer_held_out(model, test, name, seed)

    answer(policy, "Base")
    say("\n[bold]2  Cold start[/bold]: imitating a teacher that tires and stops its plans early")
    with clock("cold start"):
        metrics["cold_start"] = stages.train_cold_start(
            policy, settings, root / "cold_start", seed, progress=progress
        )
    answer(policy, "Cold start")
    cold = policy.clone()
    say(
        f"   held-out accuracy {percent(models['Cold start'].accuracy().value)}, "
        f"exactly right plans {percent(models['Cold start'].plans().value)}"
    )

    per_rollout = settings.questions_per_rollout * settings.num_plans * settings.cots_per_plan
    say(
        f"\n[bold]3  Reinforcement learning[/bold]: {settings.rollouts} rollouts of {per_rollout} responses, "
        "twice from one start"
    )
    trained: dict[str, Policy] = {}
    for name, algorithm in (("PTA-GRPO", "pta_grpo"), ("GRPO", "grpo")):
        trained[name] = cold.clone()
        with clock(name):
            metrics[algorithm] = stages.reinforce(
                trained[name], settings, root / algorithm, seed, algorithm, progress=progress
            )
        answer(trained[name], name)

    with clock("report"):
        shown = stages.tree_questions(settings.trees, seed)
        trees = [
            (name, stages.show_trees(model, settings, shown, seed))
            for name, model in (("Cold start", cold), ("PTA-GRPO", trained["PTA-GRPO"]))
        ]
    summary = Summary(
        seed=seed,
        models=models,
        gain=paired(models["PTA-GRPO"], models["Cold start"]),
        gain_grpo=paired(models["GRPO"], models["Cold start"]),
        versus=paired(models["PTA-GRPO"], models["GRPO"]),
        reasoning=reasoning,
        rounds=rounds,
        seconds=clock.seconds,
        tokens=_tokens(metrics, per_rollout),
        settings=settings,
        quick=quick,
    )
    with clock("report"):
        _write(root, summary, trained["PTA-GRPO"], metrics, trees)
    print_summary(summary, root, say)
    return summary


def _claim(root: Path, identity: dict[str, Any]) -> None:
    """Note seed and settings in the folder, or refuse a folder that has others."""
    file = root / STATE_FILE
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        for part in ("seed", "settings"):
            if found.get(part) != identity[part]:
                raise ConfigError(
                    f"{root}: holds a quickstart with {part} {found.get(part)}, asked for {identity[part]}; "
                    "choose another output folder or delete this one"
                )
        return
    root.mkdir(parents=True, exist_ok=True)
    atomic_write_json(file, identity)


def _improve_base(
    policy: Policy,
    settings: QuickstartSettings,
    root: Path,
    seed: int,
    metrics: dict[str, list[dict[str, Any]]],
    say: Callable[..., None],
    progress: bool,
) -> tuple[Share, int]:
    """Check the base and train on, for a bounded while, until its reasoning holds under a right plan."""
    checks = chains.questions(settings.checks, split="train", seed=6_000_000 + seed)
    number = 0
    while True:
        share = stages.reasoning_under_right_plan(policy, checks, seed)
        enough = share.value >= settings.good_enough
        wanted = "" if enough else f" (wanted: {percent(settings.good_enough)})"
        say(f"   given a right plan, its reasoning is right {percent(share.value)} of the time{wanted}")
        if enough or number == settings.base_rounds:
            if not enough:
                say("   [yellow]more training did not get it there: little for RL to build on[/yellow]")
            return share, number
        number += 1
        folder = root / f"base_round{number + 1}"
        polish = share.value >= settings.polish_from
        metrics["base"] += stages.train_base(
            policy, settings, folder, seed, number, polish=polish, progress=progress
        )


def _tokens(metrics: dict[str, list[dict[str, Any]]], responses_per_rollout: int) -> dict[str, float]:
    """Tokens that each algorithm sampled (a response's whole length) and put through forward and backward."""
    tokens: dict[str, float] = {}
    for name in ("pta_grpo", "grpo"):
        rows = metrics[name]
        lengths = [row["completions/mean_length"] for row in rows if "completions/mean_length" in row]
        tokens[f"{name}/response_tokens"] = sum(lengths) * responses_per_rollout
        tokens[f"{name}/trained_tokens"] = rows[-1]["num_tokens"] if rows else 0
    return tokens


def _write(
    root: Path,
    summary: Summary,
    policy: Policy,
    metrics: dict[str, list[dict[str, Any]]],
    trees: list[tuple[str, Any]],
) -> None:
    policy.save(root / "model")
    write_jsonl(
        root / "metrics.jsonl", ({"stage": stage, **row} for stage, rows in metrics.items() for row in rows)
    )
    held_out = {name: [asdict(s) for s in model.samples] for name, model in summary.models.items()}
    write_jsonl(
        root / "held_out.jsonl", ({"model": name, **row} for name, rows in held_out.items() for row in rows)
    )
    summary.files = {
        "model": root / "model",
        "metrics": root / "metrics.jsonl",
        "held_out": root / "held_out.jsonl",
        "results": root / "results.json",
        **write_report(root, summary, metrics, trees),
    }
    atomic_write_json(root / "results.json", summary.as_dict())
    atomic_write_text(root / "README.txt", _README)


_README = """What ptagrpo quickstart left here
trees.html      plans and reasoning before and after PTA-GRPO: open it in a browser
curves.png      loss, reward and accuracy
results.json    all numbers; held_out.jsonl has every held-out answer's verdict, metrics.jsonl every logged
step model/          the policy after PTA-GRPO: ptagrpo.load("model"), or transformers' AutoModelForCausalLM
base*/, cold_start/, pta_grpo/, grpo/   checkpoints and logs of the training stages; may be deleted
"""

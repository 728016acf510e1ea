"""`ptagrpo sft` and `ptagrpo train`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ..errors import ConfigError, DataError, did_you_mean
from ..outside import run_file
from ..yaml_file import YamlFile
from .arguments import key_values, merge, required, settings_table
from .main import Interrupted

ALIASES = {"model_name_or_path": "model", "dataset_name": "train_dataset", "resume_from_checkpoint": "resume"}


def run_sft(
    config: Path | None,
    own: Mapping[str, Any],
    extras: Sequence[str],
    *,
    list_settings: bool = False,
    dry_run: bool = False,
) -> None:
    """Read data and settings, train, save the model."""
    from ..training import SFTConfig

    if list_settings:
        typer.echo(settings_table(SFTConfig))
        return
    options, settings = _split(config, own, extras, SFTConfig)
    required(options, "model", "train_dataset", "output_dir")
    args = _configuration(SFTConfig, config, settings, options["train_dataset"])
    from ..data import load_sft_rows
    from ..training import SFTTrainer

    read = {"columns": _columns(options), "config": options["dataset_config"]}
    rows = load_sft_rows(
        options["train_dataset"], limit=_limit(options), split=options["dataset_train_split"], **read
    )
    evaluation = load_sft_rows(options["eval_dataset"], **read) if options["eval_dataset"] else None
    made = args.replace(contamination="off") if dry_run else args
    trainer = SFTTrainer(model=options["model"], args=made, train_dataset=rows, eval_dataset=evaluation)
    typer.echo(
        f"sft: {len(rows)} rows, {trainer.policy.num_parameters:,} parameters, run in {args.output_dir}"
    )
    _train(trainer, options, args, dry_run=dry_run)


def run_train(
    config: Path | None,
    own: Mapping[str, Any],
    extras: Sequence[str],
    *,
    list_settings: bool = False,
    dry_run: bool = False,
) -> None:
    """Read data, rewards and settings, train, save the model."""
    from .. import algorithms, training

    # The algorithm decides which configuration class reads everything else, so it is looked up first.
    algorithm = own["algorithm"] or _algorithm_of(config) or "pta_grpo"
    if algorithm not in algorithms.names():
        raise ConfigError(
            f"algorithm: got '{algorithm}', expected one of {', '.join(algorithms.names())}."
            f"{did_you_mean(str(algorithm), algorithms.names())}"
        )
    tree = algorithms.load(algorithm).tree
    config_class = training.PTAGRPOConfig if tree else training.GRPOConfig
    if list_settings:
        typer.echo(settings_table(config_class))
        return
    options, settings = _split(config, own, extras, config_class)
    required(options, "model", "train_dataset", "output_dir")
    args = _configuration(
        config_class, config, {**settings, "algorithm": algorithm}, options["train_dataset"]
    )
    reward_funcs = [load_reward(name) for name in options["reward_funcs"]]

    questions = _questions(
        options["train_dataset"],
        options,
        needs_answer=not reward_funcs,
        limit=_limit(options),
        split=options["dataset_train_split"],
    )
    evaluation = (
        _questions(options["eval_dataset"], options, needs_answer=not reward_funcs)
        if options["eval_dataset"]
        else None
    )
    trainer_class = training.PTAGRPOTrainer if tree else training.GRPOTrainer
    made = args.replace(contamination="off") if dry_run else args
    trainer = trainer_class(
        model=options["model"],
        reward_funcs=reward_funcs,
        args=made,
        train_dataset=questions,
        eval_dataset=evaluation,
    )
    typer.echo(
        f"{algorithm}: {len(questions)} questions, {args.num_generations} responses each, "
        f"{trainer.policy.num_parameters:,} parameters, run in {args.output_dir}"
    )
    _train(trainer, options, args, dry_run=dry_run)


def load_reward(name: str) -> Callable[..., Any] | str:
    """A reward function by `file.py:function`; other names (built-in, dotted) are left to `rewards.load`.

    Raises:
        ConfigError: no such file, no such function in it, or the file does not run.
    """
    file, colon, attribute = name.rpartition(":")
    if not colon:
        if "." in name and os.getcwd() not in sys.path:
            # dotted paths are looked up from the working folder, as by `python -m`
            sys.path.insert(0, os.getcwd())
        return name
    path = Path(file)
    module = run_file(path, f"reward function '{name}'")
    function = getattr(module, attribute, None)
    if not callable(function):
        found = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ConfigError(
            f"reward function '{name}': {path} has no function '{attribute}'.{did_you_mean(attribute, found)}"
        )
    return function


def _algorithm_of(config: Path | None) -> Any:
    if config is None:
        return None
    from .arguments import read_yaml

    return read_yaml(config).get("algorithm")


def _split(
    config: Path | None, own: Mapping[str, Any], extras: Sequence[str], config_class: type
) -> tuple[dict[str, Any], dict[str, Any]]:
    options, settings = merge(config, own, extras, config_class, ALIASES)
    settings.pop("algorithm", None)
    if options["output_dir"] is not None:
        settings["output_dir"] = str(options["output_dir"])
    return options, settings


def _configuration(config_class: type, config: Path | None, settings: dict[str, Any], source: str) -> Any:
    """The configuration of a run on `source`; from here on it is told which mode of the contamination check
    applies, since the trainer gets rows and not where they come from."""
    from ..data import effective_mode

    try:
        args = config_class.from_dict(settings)
        return args.replace(contamination=effective_mode(args.contamination, source))
    except ConfigError as error:
        raise ConfigError(
            str(error)
            if config is None
            else f"{error} (settings of {YamlFile(config).where_named(str(error), settings)}, and flags)"
        ) from error


def _columns(options: Mapping[str, Any]) -> dict[str, str]:
    return key_values("columns", options["columns"])


def _limit(options: Mapping[str, Any]) -> int | None:
    try:
        return None if options["limit"] is None else int(options["limit"])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"limit: expected a whole number, got {options['limit']!r}") from error


def _questions(
    source: str,
    options: Mapping[str, Any],
    *,
    needs_answer: bool,
    limit: int | None = None,
    split: str | None = None,
) -> list[Any]:
    """RL questions; those without a reference answer are left out where the answer is what is rewarded."""
    from ..data import load_questions

    questions = load_questions(
        source,
        data_format=options["data_format"] or "auto",
        columns=_columns(options),
        split=split,
        config=options["dataset_config"],
        limit=limit,
    )
    kept = [q for q in questions if q.answer is not None] if needs_answer else questions
    if not kept:
        raise DataError("no row has a reference answer, and there are no --reward_funcs", file=str(source))
    if len(kept) < len(questions):
        without = f"{len(questions) - len(kept)} of {len(questions)} rows"
        typer.echo(f"{source}: {without} have no reference answer and are left out")
    return kept


def _train(trainer: Any, options: Mapping[str, Any], args: Any, *, dry_run: bool) -> None:
    """Train to the end and save, or only say what would be done. args: the settings as the user gave them."""
    if dry_run:  # it writes nothing: the check for contamination, which leaves a report, was left out
        from ..training.dry_run import describe

        given = {name: value for name, value in options.items() if value not in (None, [])}
        typer.echo(describe(trainer, {**args.to_dict(), **given}))
        return
    output_dir = trainer.args.output_dir
    try:
        trainer.train(resume_from_checkpoint=options["resume"])
    except KeyboardInterrupt:
        if not any(Path(output_dir).glob("checkpoint-*")):
            raise Interrupted("No step was finished: there is nothing to go on from") from None
        raise Interrupted(f"The state is saved in {output_dir}; go on with --resume auto") from None
    trainer.save_model(output_dir)
    typer.echo(f"step {trainer.state.global_step} of {trainer.state.max_steps}; model saved in {output_dir}")

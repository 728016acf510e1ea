"""The commands and their flags. What a command does is in the file it imports when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import app_estimate, app_study
from .arguments import TYPERS_OWN, as_pairs, normalise, read_yaml, unknown_key

app = typer.Typer(
    name="ptagrpo",
    help="Train language models to reason by planning first (PTA-GRPO), on a CPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Flags are snake_case; kebab-case is accepted too. Add --debug to see the traceback of an error. "
    "First steps: ptagrpo quickstart",
)
SETTINGS: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}

Model = Annotated[str | None, typer.Option("--model", "--model_name_or_path", help="model folder or hub id")]
Data = Annotated[
    str | None,
    typer.Option(
        "--train_dataset", "--dataset_name", help="JSONL, JSON or parquet file, hub id, or gsm8k, deepmath"
    ),
]
EvalData = Annotated[str | None, typer.Option("--eval_dataset", help="data of the same kind, for evaluation")]
Output = Annotated[
    str | None, typer.Option("--output_dir", help="folder of the run; also gets the final model")
]
Config = Annotated[Path | None, typer.Option("--config", help="YAML file of options and settings; flags win")]
Limit = Annotated[int | None, typer.Option("--limit", help="use only the first so many rows")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", help="rename columns: ours=theirs, as question=prompt_text (repeatable)"),
]
Format = Annotated[
    str | None,
    typer.Option("--data_format", help="auto, a format of ptagrpo/data/formats, or file.py with a FORMAT"),
]
SetConfig = Annotated[
    str | None, typer.Option("--dataset_config", help="configuration of a data set of the hub")
]
SetSplit = Annotated[
    str | None,
    typer.Option("--dataset_train_split", help="split of a data set of the hub; default: its train"),
]
Resume = Annotated[
    str | None,
    typer.Option("--resume", "--resume_from_checkpoint", help="auto (go on, or start), or a checkpoint"),
]
ListSettings = Annotated[
    bool, typer.Option("--list_settings", help="list all settings with defaults, and stop")
]

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry_run", help="print the resolved settings, memory, time and what looks wrong; train nothing"
    ),
]


def _defaults_from_yaml(context: typer.Context, config: Path | None) -> Path | None:
    """Make the keys of a YAML file the defaults of this command's flags."""
    if config is not None and not context.resilient_parsing:
        values = read_yaml(config)
        names = [
            parameter.name for parameter in context.command.params if parameter.name not in ("config", "help")
        ]
        for name in values:
            if name not in names:
                raise unknown_key(config, name, names)
        if isinstance(values.get("columns"), dict):  # a mapping is written as one in YAML
            values["columns"] = as_pairs(values["columns"])
        context.default_map = values
    return config


YAML = Annotated[
    Path | None,
    typer.Option(
        "--config", callback=_defaults_from_yaml, is_eager=True, help="YAML file of options; flags win"
    ),
]


def snake_case_flags(command: Any) -> Any:
    """Spell all flags of a command group in snake_case, as its settings are."""
    for parameter in command.params:
        if not {*parameter.opts} & set(TYPERS_OWN):
            parameter.opts = [normalise([flag])[0] for flag in parameter.opts]
            parameter.secondary_opts = [normalise([flag])[0] for flag in parameter.secondary_opts]
    for child in getattr(command, "commands", {}).values():
        snake_case_flags(child)
    return command


def _version(wanted: bool) -> None:
    if wanted:
        from .. import build_info

        info = build_info()
        typer.echo(f"ptagrpo {info['version']}")
        for name in ("compiler", "blas", "blas_corename", "simd", "threads", "sanitize"):
            if info.get(name) not in (None, ""):
                typer.echo(f"  {name}: {info[name]}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="version and how the core was built"
        ),
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: ptagrpo quickstart --output_dir quickstart_output --seed 1")
def quickstart(
    output_dir: Annotated[
        str, typer.Option(help="where to write the model, metrics, curves.png, trees.html")
    ] = ("quickstart_output"),
    seed: Annotated[int, typer.Option(min=0, help="of weights, data and draws")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="a smoke test of seconds, without a result")] = False,
    progress: Annotated[bool, typer.Option("--progress/--no_progress", help="progress bars")] = True,
    config: YAML = None,
) -> int | None:
    """Both stages on the built-in task, from random weights to a report, in minutes. Needs no network."""
    from .run_quickstart import run

    return run(output_dir, seed=seed, quick=quick, progress=progress)


@app.command(
    epilog="Examples: ptagrpo distill gsm8k_train.jsonl --output plans.jsonl --teacher NAME "
    "--base_url http://localhost:8000/v1   |   ptagrpo distill traces.jsonl --output plans.jsonl "
    "--self_plan MODEL. "
    "Killed? The same command goes on; finished replies are never asked for again."
)
def distill(
    data: Annotated[
        str,
        typer.Argument(
            help="worked solutions: a file, hub id, or gsm8k, openthoughts, openthoughts3, deepmath"
        ),
    ],
    output: Annotated[Path, typer.Option(help="JSONL of records question, plan, think, answer")],
    teacher: Annotated[str | None, typer.Option(help="name of the model that the endpoint serves")] = None,
    base_url: Annotated[str | None, typer.Option(help="address of an OpenAI-compatible endpoint")] = None,
    api_key_env: Annotated[
        str, typer.Option(help="environment variable that holds the key")
    ] = "OPENAI_API_KEY",
    self_plan: Annotated[
        str | None, typer.Option(help="model folder or hub id that writes the plans itself")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="finished replies; default: beside the output")] = None,
    data_format: Format = None,
    dataset_config: SetConfig = None,
    dataset_train_split: SetSplit = None,
    columns: Columns = None,
    limit: Limit = None,
    contamination: Annotated[
        str, typer.Option(help="compare with the benchmarks: auto (sets of the hub), check, drop, off")
    ] = "auto",
    per_question: Annotated[
        int | None, typer.Option(min=1, help="at most so many solutions of a question")
    ] = None,
    keep_wrong: Annotated[
        bool,
        typer.Option("--keep_wrong", help="keep solutions marked as wrong, do not compare their answers"),
    ] = False,
    temperature: Annotated[float, typer.Option(min=0.0, help="of the teacher's sampling")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="tokens of a reply at most")] = 1024,
    max_words: Annotated[int, typer.Option(min=1, help="words of a plan at most")] = 200,
    attempts: Annotated[int, typer.Option(min=1, help="how often to ask when a plan is not usable")] = 2,
    concurrency: Annotated[int, typer.Option(min=1, help="requests in flight at most")] = 8,
    timeout: Annotated[float, typer.Option(help="seconds to wait for one reply")] = 120.0,
    max_retries: Annotated[int, typer.Option(min=0, help="repetitions of a failed request")] = 6,
    input_price: Annotated[
        float | None, typer.Option(min=0.0, help="per million prompt tokens: adds the cost")
    ] = None,
    output_price: Annotated[float | None, typer.Option(min=0.0, help="per million reply tokens")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of --self_plan's draws")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="requests generated together by --self_plan")] = 16,
    progress: Annotated[bool, typer.Option("--progress/--no_progress")] = True,
    config: YAML = None,
) -> int | None:
    """Stage 1, data: a teacher (or the model itself) summarises worked solutions into plans."""
    from .run_distill import run

    return run(**{name: value for name, value in locals().items() if name not in ("run", "config")})


@app.command(
    epilog="Examples: ptagrpo contamination deepmath --against math500,aime24   |   ptagrpo contamination "
    "q.jsonl --columns question=prompt_text --output report.json --clean clean.jsonl"
)
def contamination(
    data: Annotated[str, typer.Argument(help="training questions: a file, hub id, or gsm8k, deepmath, ...")],
    against: Annotated[
        str | None,
        typer.Option(help="benchmarks or JSONL files, with commas between; default: all benchmarks"),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="report as JSON, with every overlap")] = None,
    clean: Annotated[Path | None, typer.Option(help="JSONL of the rows without an overlap")] = None,
    n: Annotated[int, typer.Option(min=1, help="words in a row that make an overlap")] = 13,
    min_overlap: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="count only overlaps of this part of a benchmark question's runs"
        ),
    ] = 0.0,
    data_path: Annotated[
        Path | None, typer.Option(help="folder of the benchmarks' files; else the hub")
    ] = None,
    data_format: Format = None,
    dataset_config: SetConfig = None,
    dataset_train_split: SetSplit = None,
    columns: Columns = None,
    limit: Limit = None,
    progress: Annotated[bool, typer.Option("--progress/--no_progress")] = True,
    config: YAML = None,
) -> int | None:
    """Do training questions occur in the benchmarks? Word n-gram overlap, with a report."""
    from .run_contamination import run

    return run(**{name: value for name, value in locals().items() if name not in ("run", "config")})


@app.command(
    context_settings=SETTINGS,
    epilog="Examples: ptagrpo sft --model Qwen/Qwen2.5-0.5B --train_dataset plans.jsonl --output_dir cold "
    "--learning_rate 2e-5 --num_train_epochs 3   |   ptagrpo sft --config sft.yaml --seed 7. "
    "Every setting of SFTConfig is a flag: ptagrpo sft --list_settings",
)
def sft(
    context: typer.Context,
    model: Model = None,
    train_dataset: Data = None,
    eval_dataset: EvalData = None,
    output_dir: Output = None,
    config: Config = None,
    dataset_config: SetConfig = None,
    dataset_train_split: SetSplit = None,
    columns: Columns = None,
    limit: Limit = None,
    resume: Resume = None,
    list_settings: ListSettings = False,
    dry_run: DryRun = False,
) -> int | None:
    """Stage 1, cold start: supervised fine-tuning on (question, plan, think, answer) records."""
    from .run_training import run_sft

    own = {
        "model": model,
        "train_dataset": train_dataset,
        "eval_dataset": eval_dataset,
        "output_dir": output_dir,
        "dataset_config": dataset_config,
        "dataset_train_split": dataset_train_split,
        "columns": columns or [],
        "limit": limit,
        "resume": resume,
    }
    return run_sft(config, own, context.args, list_settings=list_settings, dry_run=dry_run)


@app.command(
    context_settings=SETTINGS,
    epilog="Examples: ptagrpo train --model cold --train_dataset math_train_problems.json --output_dir run "
    "--num_plans 4 --cots_per_plan 3   |   ptagrpo train --algorithm grpo --model MODEL --train_dataset "
    "q.jsonl "
    "--reward_funcs my_rewards.py:brevity accuracy_reward. Every setting of PTAGRPOConfig or GRPOConfig is "
    "a flag: "
    "ptagrpo train --algorithm grpo --list_settings",
)
def train(
    context: typer.Context,
    algorithm: Annotated[
        str | None, typer.Option("--algorithm", help="pta_grpo (default), grpo, dapo or dr_grpo")
    ] = None,
    model: Model = None,
    train_dataset: Data = None,
    eval_dataset: EvalData = None,
    output_dir: Output = None,
    reward_funcs: Annotated[
        list[str] | None,
        typer.Option(
            "--reward_funcs", help="names, dotted paths or file.py:function; several may follow one flag"
        ),
    ] = None,
    config: Config = None,
    data_format: Format = None,
    dataset_config: SetConfig = None,
    dataset_train_split: SetSplit = None,
    columns: Columns = None,
    limit: Limit = None,
    resume: Resume = None,
    list_settings: ListSettings = False,
    dry_run: DryRun = False,
) -> int | None:
    """Stage 2: reinforcement learning, with plan trees (PTA-GRPO) or flat groups (GRPO, DAPO, Dr. GRPO)."""
    from .run_training import run_train

    own = {
        "algorithm": algorithm,
        "model": model,
        "train_dataset": train_dataset,
        "eval_dataset": eval_dataset,
        "output_dir": output_dir,
        "reward_funcs": reward_funcs or [],
        "data_format": data_format,
        "dataset_config": dataset_config,
        "dataset_train_split": dataset_train_split,
        "columns": columns or [],
        "limit": limit,
        "resume": resume,
    }
    return run_train(config, own, context.args, list_settings=list_settings, dry_run=dry_run)


@app.command(
    "eval",
    epilog="Examples: ptagrpo eval MODEL --benchmark math500,aime24 --k 8 --output_dir scores   |   "
    "ptagrpo eval MODEL --benchmark math500 --data_path math500.jsonl --limit 50   |   "
    "ptagrpo eval --responses answers.jsonl --output graded.jsonl   |   "
    "ptagrpo eval --benchmark mmmu --responses answers.jsonl --output graded.jsonl --official",
)
def evaluate(
    model: Annotated[str | None, typer.Argument(help="model folder or hub id")] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="names (see `ptagrpo benchmarks`), maths, multimodal, all, .jsonl, .py; commas between"
        ),
    ] = None,
    responses: Annotated[
        Path | None, typer.Option(help="grade this JSONL of responses made elsewhere")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="graded rows of --responses")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="samples, summaries")] = None,
    data_path: Annotated[
        Path | None,
        typer.Option(help="folder of the benchmarks' files (one benchmark: its file); else the hub"),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="responses to a question")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="0: greedy")] = 0.6,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.95,
    top_k: Annotated[int, typer.Option(min=0)] = 0,
    min_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 2048,
    prompt_style: Annotated[
        str | None, typer.Option(help="plan, official, cot or raw; default: plan, with --official official")
    ] = None,
    official: Annotated[
        bool, typer.Option("--official", help="grade by the published rules, random guesses included")
    ] = False,
    prompting: Annotated[
        str | None,
        typer.Option(help="without training: cot, self_consistency (maj@k) or plan; sets the prompt"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first so many questions")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="accept files with fewer rows than a benchmark has")
    ] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    batch_size: Annotated[int | None, typer.Option(min=1, help="samples generated together")] = None,
    timeout: Annotated[float, typer.Option(help="seconds for one comparison of answers")] = 5.0,
    kind: Annotated[str, typer.Option(help="how answers are compared: math or exact")] = "math",
    progress: Annotated[bool, typer.Option("--progress/--no_progress")] = True,
    config: YAML = None,
) -> int | None:
    """Accuracy on benchmarks of mathematics and of images, or of responses made elsewhere."""
    from .run_evaluation import run

    return run(**{name: value for name, value in locals().items() if name not in ("run", "config")})


@app.command(epilog="Example: ptagrpo benchmarks --data_path DATA")
def benchmarks(
    data_path: Annotated[
        Path | None, typer.Option(help="folder of the benchmarks' files; else the variable PTAGRPO_DATA")
    ] = None,
) -> int | None:
    """List the benchmarks: questions, licence, source, and whether the data is at hand."""
    from .run_benchmarks import run

    return run(data_path)


app_study.add_commands(app)
app_estimate.add_commands(app)


@app.command(epilog="Example: ptagrpo doctor")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="the facts as JSON, for a bug report")] = False,
) -> int | None:
    """What machine, kernels, BLAS, threads, memory and versions are in use, and what to change."""
    from .run_doctor import run

    return run(as_json)


@app.command(
    epilog="Examples: ptagrpo generate MODEL --prompt 'What is 7 times 8?'   |   ptagrpo generate MODEL "
    "--prompts questions.jsonl --output answers.jsonl --n 4"
)
def generate(
    model: Annotated[str, typer.Argument(help="model folder or hub id")],
    prompt: Annotated[list[str] | None, typer.Option(help="a question or text (repeatable)")] = None,
    prompts: Annotated[str | None, typer.Option(help="file of questions, as of `train`")] = None,
    output: Annotated[Path | None, typer.Option(help="JSONL of responses; default: print them")] = None,
    prompt_style: Annotated[str, typer.Option(help="plan, cot, or raw (the text as it is)")] = "plan",
    n: Annotated[int, typer.Option(min=1, help="responses to a prompt")] = 1,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, help="0: greedy")] = 0.6,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.95,
    top_k: Annotated[int, typer.Option(min=0)] = 0,
    min_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.0,
    stop: Annotated[list[str] | None, typer.Option(help="text that ends a response (repeatable)")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    limit: Limit = None,
    config: YAML = None,
) -> int | None:
    """Sample responses."""
    from .run_generate import run

    return run(**{name: value for name, value in locals().items() if name not in ("run", "config")})


@app.command(
    epilog="Examples: ptagrpo convert stories260K.bin stories --tokenizer tok512.bin   |   "
    "ptagrpo convert MODEL MODEL-bf16 --dtype bfloat16 --max_shard_size 2GB   |   ptagrpo convert ADAPTER MERGED"
)
def convert(
    source: Annotated[str, typer.Argument(help="llama2.c .bin, or a model folder or hub id")],
    target: Annotated[Path, typer.Argument(help="model folder to write")],
    tokenizer: Annotated[Path | None, typer.Option(help="the llama2.c tokenizer .bin")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16")] = "float32",
    max_shard_size: Annotated[str, typer.Option(help="as 500MB; larger models are split")] = "5GB",
) -> int | None:
    """Write a model in another form: from llama2.c, another dtype, other shards, an adapter merged into its base."""
    from .run_convert import run

    return run(source, target, tokenizer=tokenizer, dtype=dtype, max_shard_size=max_shard_size)


@app.command(
    epilog="Examples: ptagrpo view run   |   ptagrpo view run --watch --interval 30   |   "
    "ptagrpo view run --output page.html --limit_mb 20"
)
def view(
    run: Annotated[Path, typer.Argument(help="output_dir of a training run, finished or still going")],
    output: Annotated[
        Path | None, typer.Option(help="the page; default: view.html in the run's folder")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="write the page again whenever the run has written something")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="seconds between two looks of --watch")] = 10.0,
    limit_mb: Annotated[
        float, typer.Option(help="megabytes of plan trees in the page; beyond it steps are thinned out")
    ] = 48.0,
    config: YAML = None,
) -> int | None:
    """One HTML page of a run: curves, and its plan trees to browse, search and compare. Loads nothing."""
    from .run_view import run as write

    return write(run, output=output, watch=watch, interval=interval, limit_mb=limit_mb)

"""The command estimate-memory. What it does is in `run_estimate.py`."""

from __future__ import annotations

from typing import Annotated

import typer


def add_commands(app: typer.Typer) -> None:
    """Add it to the command line."""

    @app.command(
        epilog="Examples: ptagrpo estimate-memory Qwen/Qwen3-14B --memory 24GiB   |   ptagrpo estimate-memory "
        "path/to/config.json --method lora-int4 --num_plans 8 --max_completion_length 2048 --no_probe"
    )
    def estimate_memory(
        model: Annotated[
            str, typer.Argument(help="model folder, config.json, or hub id (only its config.json is fetched)")
        ],
        method: Annotated[
            str, typer.Option(help="full, lora, lora-int8, lora-int4, several with commas, or all")
        ] = "all",
        memory: Annotated[
            str | None, typer.Option(help="as 24GiB or 50%; default: what this machine has available")
        ] = None,
        num_plans: Annotated[int, typer.Option(min=1, help="plans to a question (m)")] = 4,
        cots_per_plan: Annotated[int, typer.Option(min=1, help="chains of thought under a plan (z)")] = 3,
        max_prompt_length: Annotated[int, typer.Option(min=1, help="tokens of the question's prompt")] = 512,
        max_plan_length: Annotated[
            int | None, typer.Option(min=1, help="tokens of a plan; default: half of max_completion_length")
        ] = None,
        max_completion_length: Annotated[
            int, typer.Option(min=1, help="tokens of a response, plan and chain together")
        ] = 512,
        dtype: Annotated[
            str, typer.Option(help="of working weights and activations: bfloat16 or float32")
        ] = "bfloat16",
        lora_r: Annotated[int, typer.Option(min=1, help="rank of the adapter")] = 16,
        lora_target_modules: Annotated[
            str, typer.Option(help="all-linear, or names with commas between")
        ] = "all-linear",
        beta: Annotated[
            float, typer.Option(min=0.0, help="of the KL; above 0 full training has a reference policy")
        ] = 0.0,
        probe: Annotated[
            bool, typer.Option("--probe/--no_probe", help="time one layer here, to say how long a step takes")
        ] = True,
        as_json: Annotated[bool, typer.Option("--json", help="bytes and seconds as JSON")] = False,
    ) -> int | None:
        """What training a model takes, from its configuration alone: memory by use, and what fits."""
        from .run_estimate import run

        return run(**{name: value for name, value in locals().items() if name != "run"})

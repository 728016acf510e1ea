"""The commands of studies: compare, sweep, ablate. What they do is in `run_study.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyFile = Annotated[Path, typer.Argument(help="YAML file of the study, as configs/study/demo.yaml")]
StudyFolder = Annotated[str | None, typer.Option("--output_dir", help="folder of cells and report")]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="how many seeds, from 0 on")]
Budget = Annotated[str | None, typer.Option("--budget", help="equal for all: rollouts, tokens or seconds")]
Amount = Annotated[float | None, typer.Option("--amount", help="how much of the budget a run gets")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry_run", help="print the resolved study, cells, memory, time and what looks wrong; train nothing"
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""

    @app.command(
        epilog="Example: ptagrpo compare configs/study/demo.yaml --methods pta_grpo,grpo,dapo,dr_grpo --seeds 5 "
        "--budget tokens --amount 2e6. Killed? The same command goes on; finished cells are never run again."
    )
    def compare(
        study: StudyFile,
        methods: Annotated[
            str, typer.Option(help="algorithms or methods of the file; the first is compared with the others")
        ] = "pta_grpo,grpo",
        seeds: Seeds = None,
        budget: Budget = None,
        amount: Amount = None,
        output_dir: StudyFolder = None,
        dry_run: DryRun = False,
    ) -> int | None:
        """Methods against each other: same start, same questions, equal budget, several seeds, tests."""
        from .run_study import run_compare

        given = {"seeds": seeds, "budget": budget, "amount": amount, "output_dir": output_dir}
        return run_compare(study, methods, dry_run=dry_run, **given)

    @app.command(
        epilog="Example: ptagrpo sweep configs/study/demo.yaml --over plan_weight=0,0.3,0.5 --over split=12x1,6x2,4x3 "
        "--over tau=0.1,0.3,1"
    )
    def sweep(
        study: StudyFile,
        over: Annotated[
            list[str],
            typer.Option(
                help="name=value,value,...: m, z, tau, alpha, plan_weight, data, split (MxZ), or an option"
            ),
        ],
        method: Annotated[str, typer.Option(help="whose options are swept")] = "pta_grpo",
        seeds: Seeds = None,
        budget: Budget = None,
        amount: Amount = None,
        output_dir: StudyFolder = None,
        dry_run: DryRun = False,
    ) -> int | None:
        """One option at a time over several values; the first value is what the others are compared with."""
        from .run_study import run_sweep

        given = {"seeds": seeds, "budget": budget, "amount": amount, "output_dir": output_dir}
        return run_sweep(study, over, method, dry_run=dry_run, **given)

    @app.command(epilog="Example: ptagrpo ablate configs/study/demo.yaml --seeds 5")
    def ablate(
        study: StudyFile,
        method: Annotated[str, typer.Option(help="what is taken apart")] = "pta_grpo",
        seeds: Seeds = None,
        budget: Budget = None,
        amount: Amount = None,
        output_dir: StudyFolder = None,
        dry_run: DryRun = False,
    ) -> int | None:
        """The method without SFT, without r_format, without r_analytic (the paper's Table 3)."""
        from .run_study import run_ablate

        given = {"seeds": seeds, "budget": budget, "amount": amount, "output_dir": output_dir}
        return run_ablate(study, method, dry_run=dry_run, **given)

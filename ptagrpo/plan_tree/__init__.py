"""The plan tree of one question as a person sees it: texts, scores, verdicts; in files, notebooks, terminals.

    ptagrpo.load_trees("run", step=40)[0]        # shows itself in a notebook
    rich.print(ptagrpo.load_trees("run")[-1])    # and in a terminal

`records.Group` is what training computes with; a `PlanTree` is what is kept of it to look at.
"""

from .record import Chain, Plan, PlanTree, Tokens

__all__ = ["Chain", "Plan", "PlanTree", "Tokens"]

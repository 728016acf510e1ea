"""What the vision tower does in a training step: it sees the pictures of a batch before the language model's pass, and,
where it is trained, learns after it."""

from __future__ import annotations

from ..packing import Batch
from ..policy import Policy


def see(policy: Policy, batch: Batch, *, keep: bool = False) -> None:
    """Fill in what the batch's forest takes for its pictures. keep: a backward pass follows."""
    if batch.seen is not None:
        batch.seen[...] = policy.look(batch.pictures, keep=keep and policy.model.tower_trained)


def learn(policy: Policy, batch: Batch) -> None:
    """Add the gradients of a trained tower, after the backward pass of a batch that `see(..., keep=True)` prepared."""
    if batch.seen is not None and policy.model.tower_trained:
        policy.model.see_backward(policy.model.input_gradients())

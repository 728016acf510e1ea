"""From a question to prompt tokens, and from tokens back to text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import generation
from ..records import Encoded, Question

if TYPE_CHECKING:
    from ..policy import Policy


def encode_prompt(policy: Policy, question: Question) -> Encoded:
    """The question's prompt: token ids int32[P], P >= 1, and pictures, exactly as `Policy.generate` encodes it.

    Chat messages go through the tokenizer's chat template with the opening of the assistant's turn; plain
    text is encoded as it is, after the BOS token where the tokenizer uses one.

    Raises:
        DataError: the prompt has no tokens, or one outside the model's vocabulary; names the question.
    """
    return generation.encode(policy, question.prompt, f"question {question.id!r}")


def decode_response(policy: Policy, token_ids: Iterable[int]) -> str:
    """Text of a response: special tokens and the end-of-sequence token removed, everything else kept."""
    ends = set(policy.tokenizer.eos_token_ids)
    ids = [int(token) for token in token_ids]
    while ids and ids[-1] in ends:
        ids.pop()
    return policy.tokenizer.decode(ids, skip_special_tokens=True)

"""The policy model as its own teacher ("self-plan", the paper's Table 7): no network, no other model."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import rng
from .cache import Reply
from .teacher import Request

if TYPE_CHECKING:
    from ..policy import Policy


class SelfTeacher:
    """A policy that writes the plans itself. Deterministic: a reply depends on weights, request and seed
    only.

    Args:
        policy: the model; its chat template is used where it has one.
        temperature, top_p, max_tokens: sampling; 0 is greedy.
        seed: of the draws.
        batch_size: requests generated together; replies are saved after each batch.
    """

    retries = 0

    def __init__(
        self,
        policy: Policy,
        *,
        temperature: float = 0.7,
        top_p: float = 0.95,
        max_tokens: int = 512,
        seed: int = 0,
        batch_size: int = 16,
    ):
        self.policy, self.batch_size = policy, batch_size
        self.params: dict[str, Any] = {
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "seed": seed,
        }
        self.name = f"self:{weights_fingerprint(policy)}"

    def ask_many(
        self,
        requests: list[Request],
        on_reply: Callable[[Request, Reply], None],
        on_failure: Callable[[Request, str], None],
    ) -> None:
        """See `ptagrpo.distill.teacher.Teacher`."""
        import numpy as np

        for start in range(0, len(requests), self.batch_size):
            batch = requests[start : start + self.batch_size]
            prompts = [self._prompt(request.messages) for request in batch]
            keys = np.array(
                [rng.key("self-plan", self.params["seed"], r.key) for r in batch], dtype=np.uint64
            )
            completions = self.policy.generate(
                prompts,
                max_new_tokens=self.params["max_tokens"],
                temperature=self.params["temperature"],
                top_p=self.params["top_p"],
                stop=["</plan>"],
                keys=keys,
            )
            for request, prompt, [completion] in zip(batch, prompts, completions, strict=True):
                count = len(self.policy.tokenizer.encode(prompt)) if isinstance(prompt, str) else None
                reason = "length" if completion.finish_reason == "length" else "stop"
                on_reply(request, Reply(completion.text, reason, count, len(completion.token_ids)))

    def _prompt(self, messages: list[dict[str, Any]]) -> str:
        tokenizer = self.policy.tokenizer
        if tokenizer.chat_template:
            return tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        return "\n\n".join(message["content"] for message in messages) + "\n\nPlan:\n"


def weights_fingerprint(policy: Policy) -> str:
    """Sixteen hex digits that change with any weight: CRC-32 of each tensor under a SHA-256 of names and
    shapes."""
    digest = hashlib.sha256()
    for name, values in sorted(policy.model.parameters().items()):
        digest.update(f"{name} {values.shape} {zlib.crc32(values):08x}\n".encode())
    return digest.hexdigest()[:16]

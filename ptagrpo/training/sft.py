"""Stage 1, the cold start: log-likelihood of plan, reasoning and answer, the prompt masked (Eq. 1).

Rows become token sequences once, at construction. A step packs its rows into forests of root segments: no
    padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from ..data import load_sft_rows
from ..errors import ConfigError, DataError
from ..packing import SFTRecord, pack_records, split_records
from ..policy import Policy
from . import fingerprints, pictures
from .config import SFTConfig
from .data_order import epoch_order
from .loop import StepResult, Trainer
from .metrics import own_metrics
from .sft_rows import encode_rows


class SFTTrainer(Trainer):
    """Supervised fine-tuning on rows with a prompt and a completion.

    Args:
        model: a Policy (trained in place), or a path or hub id.
        args: SFTConfig.
        train_dataset: rows {"question" or "prompt", "plan", "think", "answer"}, {"prompt", "completion"},
            {"messages"} or {"text"}: a list, a datasets.Dataset, or a path that `data.load_sft_rows` reads.
        eval_dataset: rows of the same kinds, for `evaluate()`.
        callbacks: see `callbacks.TrainerCallback`. processing_class: see `loop.Trainer`.
        compute_metrics: further metrics of an evaluation from its rows, one mapping each with the row's `token_ids`
            (int32, the targets) and their `logprobs` (float32, nats); "eval_" is put before their names.

    Raises:
        DataError: a row is malformed, or has no token to learn from; names the row.
    """

    config_class = SFTConfig
    args: SFTConfig

    def __init__(
        self,
        model: Policy | str | Path,
        args: SFTConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        callbacks: Sequence[Any] | None = None,
        processing_class: Any = None,
        compute_metrics: Callable[[list[dict[str, Any]]], Mapping[str, float]] | None = None,
        **others: Any,
    ):
        super().__init__(model, args, callbacks, processing_class, **others)
        self._compute_metrics = compute_metrics
        if train_dataset is None:
            raise ConfigError("SFTTrainer: train_dataset: expected rows or a path, got None")
        self._rows = self._screen(load_sft_rows(train_dataset), train_dataset)
        self._records = self._encode(self._rows, "train_dataset")
        self._eval_records = (
            self._encode(load_sft_rows(eval_dataset), "eval_dataset") if eval_dataset is not None else []
        )
        if self.args.eval_strategy != "no" and not self._eval_records:
            raise ConfigError("SFTTrainer: eval_strategy='steps' needs an eval_dataset")
        self._order: tuple[int, np.ndarray] | None = None
        self._data_fingerprint = fingerprints.rows_fingerprint(self._rows)

    def evaluate(self, eval_dataset: Any = None, *, metric_key_prefix: str = "eval") -> dict[str, float]:
        """{"eval_loss": mean over all target tokens, nats; "eval_num_tokens": how many targets}.

        Args:
            eval_dataset: rows other than the trainer's. metric_key_prefix: instead of "eval".
        """
        records = self._eval_records
        if eval_dataset is not None:
            records = self._encode(load_sft_rows(eval_dataset), "eval_dataset")
        if not records:
            raise ConfigError("evaluate: there is no eval_dataset")
        total = sum(record.num_targets for record in records)
        loss = 0.0
        seen: list[dict[str, Any]] = []
        size = self.args.per_device_eval_batch_size
        for start in range(0, len(records), size):
            rows = records[start : start + size]
            for part in split_records(rows, self._memory.micro_batch_tokens):
                batch = pack_records([rows[i] for i in part], total, self.policy.config.vision)
                pictures.see(self.policy, batch)
                logprobs, _ = self.policy.model.forward(batch.forest, batch.source, batch.target, keep=False)
                loss -= float(np.dot(batch.w_pos.astype(np.float64), logprobs))
                if self._compute_metrics is not None:
                    ends = np.cumsum([rows[i].num_targets for i in part])[:-1]
                    pairs = zip(np.split(batch.target, ends), np.split(logprobs, ends), strict=True)
                    seen += [{"token_ids": targets, "logprobs": values} for targets, values in pairs]
                self._guard.check()
        metrics: dict[str, float] = {"loss": loss, "num_tokens": total}
        if self._compute_metrics is not None:
            metrics |= own_metrics(self._compute_metrics(seen))
        return {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}

    def _encode(self, rows: Sequence[Mapping[str, Any]], name: str) -> list[SFTRecord]:
        args = self.args
        records = encode_rows(
            rows, self.policy.tokenizer, encode=self.policy.encode, prompt_style=args.prompt_style,
            max_length=args.max_length, completion_only_loss=args.completion_only_loss is not False,
            text_field=args.dataset_text_field, name=name,
        )  # fmt: skip
        for index, record in enumerate(records):
            if len(record.token_ids) and int(record.token_ids.max()) >= self.policy.config.vocab_size:
                raise DataError(f"{name}[{index}]: has a token outside the model's vocabulary")
        return records

    @property
    def _steps_per_epoch(self) -> int:
        return math.ceil(len(self._records) / self._batch_size)

    @property
    def _batch_size(self) -> int:
        return self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps

    def _total_steps(self) -> int:
        if self.args.max_steps > 0:
            return self.args.max_steps
        return max(1, math.ceil(self.args.num_train_epochs * self._steps_per_epoch))

    def _epoch(self) -> float:
        return self.state.global_step / self._steps_per_epoch

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "data": self._data_fingerprint}

    def _batch(self, step: int) -> list[SFTRecord]:
        """The rows of optimizer step `step`; the last batch of an epoch may be smaller."""
        epoch, place = divmod(step, self._steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (
                epoch,
                epoch_order(len(self._records), self.args.seed, epoch, self.args.shuffle_dataset),
            )
        start = place * self._batch_size
        return [self._records[i] for i in self._order[1][start : start + self._batch_size]]

    def _micro_batches(self, records: Sequence[SFTRecord]) -> list[list[SFTRecord]]:
        size = self.args.per_device_train_batch_size
        micro = []
        for start in range(0, len(records), size):
            rows = records[start : start + size]
            micro += [
                [rows[i] for i in part] for part in split_records(rows, self._memory.micro_batch_tokens)
            ]
        return micro

    def _compute_gradients(self) -> StepResult:
        records = self._batch(self.state.global_step)
        targets = sum(record.num_targets for record in records)
        loss = entropy = 0.0
        tokens = 0
        for number, rows in enumerate(self._micro_batches(records)):
            if number:
                self._substep()
            batch = pack_records(rows, targets, self.policy.config.vision)
            pictures.see(self.policy, batch, keep=True)
            part, _, entropies = _core.train_likelihood(
                self.policy.model,
                batch.forest,
                batch.source,
                batch.target,
                batch.w_pos,
                keep=self._memory.keep(batch),
                dropout_key=self._dropout_key(number),
            )
            pictures.learn(self.policy, batch)
            loss += part
            entropy += float(entropies.sum(dtype=np.float64))
            tokens += batch.num_tokens
        return StepResult({"loss": loss, "entropy": entropy / targets}, tokens, {"loss": loss})

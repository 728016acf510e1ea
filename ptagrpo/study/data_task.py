"""One's own model and data as the object of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..data import load_questions
from ..errors import ConfigError, DataError, did_you_mean
from ..evaluation.settings import questions_fingerprint
from ..policy import Policy
from ..records import Question
from .spec import BASE


@dataclass(frozen=True)
class DataSettings:
    """model: folder or hub id, after the cold start. base_model: before it, for what starts without. The two
    data sets are read as by `ptagrpo train`; reward_funcs are added to the built-in rewards."""

    model: str = ""
    base_model: str | None = None
    train_dataset: str = ""
    eval_dataset: str = ""
    data_format: str = "auto"
    columns: Mapping[str, str] | None = None
    reward_funcs: Sequence[str] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> DataSettings:
        """From the study's `data`.

        Raises:
            ConfigError: an unknown key, or one that is needed and missing.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(f"study: data: there is no key {name!r}.{did_you_mean(name, known)}")
        for name in ("model", "train_dataset", "eval_dataset"):
            if not values.get(name):
                raise ConfigError(f"study: data: {name} is needed")
        for name in ("model", "base_model", "train_dataset", "eval_dataset", "data_format"):
            if not isinstance(values.get(name), (str, type(None))):
                raise ConfigError(f"study: data: {name}: expected text, got {values[name]!r}")
        listed = values.get("reward_funcs") or ()
        if isinstance(listed, str) or not all(isinstance(name, str) for name in listed):
            raise ConfigError(f"study: data: reward_funcs: expected a list of names, got {listed!r}")
        if not isinstance(values.get("columns") or {}, Mapping):
            raise ConfigError(f"study: data: columns: expected ours: theirs, got {values['columns']!r}")
        return cls(**values)


class DataTask:
    """See `DataSettings`.

    load_reward: turns a name of `reward_funcs` into a function (or leaves it to `rewards.load`).
    """

    def __init__(self, values: Mapping[str, Any], load_reward: Callable[[str], Any] = lambda name: name):
        self._settings = DataSettings.read(values)
        self.settings: dict[str, Any] = {}
        self.reward_funcs = tuple(load_reward(name) for name in self._settings.reward_funcs)
        self._train = self._read("train_dataset")
        self._test = self._read("eval_dataset")

    def identity(self) -> dict[str, Any]:
        """What decides the start and the questions."""
        return {
            "task": "data",
            "model": self._settings.model,
            "base_model": self._settings.base_model,
            "train": questions_fingerprint(self._train),
            "test": questions_fingerprint(self._test),
            "reward_funcs": list(self._settings.reward_funcs),
        }

    def train_questions(self, seed: int, count: int) -> list[Question]:
        """The first `count` training questions: seeds draw their order, not their choice."""
        return self._train[:count]

    def test_questions(self, count: int) -> list[Question]:
        """The first `count` evaluation questions."""
        return self._test[:count]

    def start(self, seed: int, kind: str) -> Policy:
        """The model, freshly read."""
        self.check_start(kind)
        return Policy.from_pretrained(str(self._settings.base_model if kind == BASE else self._settings.model))

    def check_start(self, kind: str) -> None:
        """Refuse a start that the file does not name."""
        if kind == BASE and self._settings.base_model is None:
            raise ConfigError(
                "study: data: a start without the cold start needs base_model, the model before it"
            )

    def untrained(self) -> Policy:
        """A model of the size that is trained."""
        return Policy.from_pretrained(self._settings.model)

    def _read(self, name: str) -> list[Question]:
        source = getattr(self._settings, name)
        questions = load_questions(
            source, data_format=self._settings.data_format, columns=dict(self._settings.columns or {})
        )
        judged = [question for question in questions if question.answer is not None]
        if not judged:
            raise DataError(f"study: {name}: no question has a reference answer", file=str(source))
        return judged

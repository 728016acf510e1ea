"""What goes wrong in a run is said clearly, and costs nothing that was there before."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest
import training_toys
from training_toys import QUESTIONS, SFT_ROWS

from ptagrpo.errors import CheckpointError, ConfigError, DataError, RewardError
from ptagrpo.training import GRPOConfig, GRPOTrainer, PTAGRPOConfig, PTAGRPOTrainer, SFTConfig, SFTTrainer
from ptagrpo.training.run_store import verify


class Faulty:
    """A reward function that works for a while and then does not."""

    def __init__(self, fault, calls=3):
        self.fault, self.left = fault, calls
        self.__name__ = "faulty"

    def __call__(self, completions, **kwargs):
        self.left -= 1
        good = [float(len(completion) % 5) for completion in completions]
        return good if self.left >= 0 else self.fault(good)


class Weights:
    """Remembers the weights after every step."""

    def __init__(self):
        self.after = {}

    def on_step_end(self, args, state, control, model, **kwargs):
        self.after[state.global_step] = {n: w.copy() for n, w in model.model.parameters().items()}

    def equal(self, step, policy):
        return all(np.array_equal(self.after[step][n], w) for n, w in policy.model.parameters().items())


def rl(folder, func, callbacks=(), **options):
    args = GRPOConfig(
        output_dir=str(folder), num_generations=4, max_completion_length=6, max_steps=6, save_steps=2,
        learning_rate=1e-2, prompt_style="raw", disable_tqdm=True, **options,
    )  # fmt: skip
    return GRPOTrainer(training_toys.policy(), func, args, QUESTIONS, callbacks=callbacks)


def fail(good):
    raise KeyError("no such column")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (fail, "raised KeyError: 'no such column'"),
        (lambda good: [*good[:-1], float("nan")], "nan"),
        (lambda good: good[:-1], "3"),
        (lambda good: ["a"] * len(good), "'a'"),
        (lambda good: None, "None"),
        (lambda good: time.sleep(30), "did not return within 0.2 s"),
    ],
    ids=["raises", "nan", "length", "text", "none", "hangs"],
)
def test_a_reward_function_that_fails_costs_nothing(tmp_path, fault, said):
    weights = Weights()
    func = Faulty(fault)
    trainer = rl(tmp_path, func, [weights], reward_timeout=0.2)
    with pytest.raises(RewardError, match="faulty") as caught:
        trainer.train()
    assert said in str(caught.value)
    assert trainer.state.global_step == 3
    assert weights.equal(3, trainer.policy)
    verify(tmp_path / "checkpoint-2")
    verify(tmp_path / "checkpoint-3")
    func.left = 10**6  # mended: the run goes on as if nothing had been
    trainer.train(resume_from_checkpoint="auto")
    whole = rl(tmp_path / "whole", Faulty(fault, calls=10**6))
    whole.train()
    assert training_toys.result(tmp_path, 6) == training_toys.result(tmp_path / "whole", 6)


def test_a_gradient_that_is_not_finite_costs_nothing(tmp_path):
    class Poison(Weights):
        def on_substep_end(self, args, state, control, model, **kwargs):
            if state.global_step == 3:
                next(iter(model.model.gradients().values()))[0, 0] = np.nan

    weights = Poison()
    args = SFTConfig(
        output_dir=str(tmp_path), max_steps=6, save_steps=2, per_device_train_batch_size=2,
        gradient_accumulation_steps=2, disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(training_toys.policy(), args, SFT_ROWS, callbacks=[weights])
    with pytest.raises(FloatingPointError, match="step 4: .*weights are those after step 3"):
        trainer.train()
    assert weights.equal(3, trainer.policy)
    assert trainer.optimizer.step_count == 3
    verify(tmp_path / "checkpoint-2")


@pytest.mark.parametrize("kind", ["sft", "pta"])
def test_a_full_disk_costs_nothing(tmp_path, kind):
    """The kernel refuses to let any file grow beyond 4 KiB from step 5 on (RLIMIT_FSIZE)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FillsUp(Weights):
        def on_step_end(self, args, state, control, model, **kwargs):
            super().on_step_end(args, state, control, model, **kwargs)
            if state.global_step == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))

    weights = FillsUp()
    base = training_toys.policy()
    trainer = training_toys.trainer(
        kind, tmp_path, base, [weights], save_steps=2, max_steps=8, logging_steps=8
    )
    try:
        with pytest.raises(
            CheckpointError, match="checkpoint-6: could not be written.*checkpoint-4 is intact"
        ):
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert weights.equal(6, trainer.policy)
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    verify(tmp_path / "checkpoint-4")
    training_toys.trainer(kind, tmp_path, base, save_steps=2, max_steps=8, logging_steps=8).train("auto")
    whole = training_toys.trainer(kind, tmp_path / "whole", base, save_steps=2, max_steps=8, logging_steps=8)
    whole.train()
    assert training_toys.result(tmp_path, 8) == training_toys.result(tmp_path / "whole", 8)


def test_groups_without_a_right_answer_and_plans_that_never_close(tmp_path):
    """A random model: nothing right, no plan closed. The run goes on, the metrics say what is the matter."""
    args = PTAGRPOConfig(
        output_dir=str(tmp_path), num_plans=2, cots_per_plan=2, max_completion_length=6, max_steps=2,
        logging_steps=1, prompt_style="raw", answer_kind="exact", weight_decay=0.0, length_reward_weight=0.1,
        disable_tqdm=True,
    )  # fmt: skip
    policy = training_toys.policy()
    tags = [policy.tokenizer.token_to_id(tag) for tag in ("</plan>", "<answer>")]
    policy.model.parameters()["model.embed_tokens.weight"][tags] = 0.0
    before = {name: weight.copy() for name, weight in policy.model.parameters().items()}
    wrong = [{**question, "answer": "so so"} for question in QUESTIONS]
    trainer = PTAGRPOTrainer(policy, args=args, train_dataset=wrong)
    trainer.train()
    row = trainer.state.log_history[0]
    assert row["rewards/outcome/mean"] == 0.0 and row["rewards/length/mean"] == 0.0
    assert row["plan/unclosed_frac"] > 0.5 and row["plan/tie_frac"] == 1.0
    assert row["frac_reward_zero_std"] == 1.0 and row["grad_norm"] == 0.0
    assert all(np.array_equal(before[n], w) for n, w in policy.model.parameters().items())


def test_rewards_that_apply_to_nobody(tmp_path):
    """All None: advantage 0, no update, the run goes on."""
    trainer = rl(tmp_path, lambda completions, **kwargs: [None] * len(completions), weight_decay=0.0)
    before = {name: weight.copy() for name, weight in trainer.policy.model.parameters().items()}
    trainer.train()
    assert trainer.state.global_step == 6
    assert all(np.array_equal(before[n], w) for n, w in trainer.policy.model.parameters().items())
    assert "reward" not in trainer.state.log_history[-1]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a"}, "'plan' as text"),
        ({"question": "a", "plan": "p", "think": "", "answer": "1"}, "think"),
        ({"prompt": "a", "completion": 3}, "completion"),
        ({"messages": [{"role": "user", "content": "a"}]}, "assistant"),
        ({"prompt": "a", "completion": "b " * 60}, "cut"),
    ],
)
def test_malformed_sft_rows(tmp_path, row, said):
    args = SFTConfig(output_dir=str(tmp_path), max_length=20)
    if said == "cut":
        with pytest.warns(RuntimeWarning, match="1 of 2 rows are longer than max_length"):
            SFTTrainer(training_toys.policy(), args, [{"text": "a b"}, row])
        return
    with pytest.raises(DataError, match=said):
        SFTTrainer(training_toys.policy(), args, [SFT_ROWS[0], row])


def test_a_row_that_max_length_leaves_nothing_of(tmp_path):
    row = {"prompt": "a " * 30, "completion": "b"}
    with pytest.raises(DataError, match=r"train_dataset\[1\]: no token to learn from.*max_length is 20"):
        SFTTrainer(
            training_toys.policy(), SFTConfig(output_dir=str(tmp_path), max_length=20), [{"text": "a b"}, row]
        )


def test_nothing_to_learn_from(tmp_path):
    args = GRPOConfig(output_dir=str(tmp_path))
    with pytest.raises(ConfigError, match="no reference answers.*no reward_funcs"):
        GRPOTrainer(training_toys.policy(), args=args, train_dataset=[{"prompt": "a"}])
    with pytest.raises(ConfigError, match="train_dataset"):
        GRPOTrainer(training_toys.policy(), args=args)
    with pytest.raises(ConfigError, match="2 weights for 1 reward functions"):
        GRPOTrainer(
            training_toys.policy(), training_toys.short, args.replace(reward_weights=[1, 2]), QUESTIONS
        )
    with pytest.raises(ConfigError, match="expected PTAGRPOConfig, got GRPOConfig"):
        PTAGRPOTrainer(training_toys.policy(), args=args, train_dataset=QUESTIONS)
    with pytest.raises(ConfigError, match="needs an eval_dataset"):
        SFTTrainer(training_toys.policy(), SFTConfig(eval_strategy="steps"), SFT_ROWS)

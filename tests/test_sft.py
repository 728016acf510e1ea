"""The SFT trainer: the loss it says, the gradient it takes, the rows it reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import training_toys
from conftest import make_byte_tokenizer
from training_toys import SFT_ROWS

from ptagrpo.policy import Policy
from ptagrpo.template import build_prompt, format_record
from ptagrpo.training import SFTConfig, SFTTrainer
from ptagrpo.training.sft_rows import encode_rows

PLAN_ROW = {"question": "1 + 1?", "plan": "add", "think": "1 + 1 = 2", "answer": 2}


def make(folder, rows=SFT_ROWS, policy=None, **options):
    options = {"max_steps": 1, "logging_steps": 1, "disable_tqdm": True, "learning_rate": 1e-2, **options}
    return SFTTrainer(
        policy or training_toys.policy(), SFTConfig(output_dir=str(folder), **options), rows, rows
    )


def by_hand(policy, rows):
    """Mean negative log-likelihood of completion tokens and eos, row by row, nothing packed."""
    total, count = 0.0, 0
    for row in rows:
        prompt = policy.tokenizer.encode(row["prompt"])
        completion = [*policy.tokenizer.encode(row["completion"]), policy.tokenizer.eos_token_id]
        values = policy.logprobs([prompt + completion])[0][len(prompt) - 1 :]
        total, count = total - values.sum(dtype=np.float64), count + len(values)
    return total / count


def test_the_loss_is_the_mean_over_completion_tokens(tmp_path):
    trainer = make(tmp_path, per_device_train_batch_size=len(SFT_ROWS))
    expected = by_hand(trainer.policy, SFT_ROWS)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert trainer.train().training_loss == pytest.approx(expected, rel=1e-5)
    row = trainer.state.log_history[0]
    assert {"step", "epoch", "num_tokens", "loss", "entropy", "grad_norm", "learning_rate"} <= set(row)
    assert row["num_tokens"] == sum(len(record.token_ids) for record in trainer._records)


def test_micro_batches_do_not_change_the_step(tmp_path):
    """Rows of different lengths: a mean over micro-batch means would differ."""
    rows = [{"prompt": "a b", "completion": "c " * (1 + 5 * i)} for i in range(6)]
    options = [
        {"per_device_train_batch_size": 6},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3},
        {"per_device_train_batch_size": 6, "max_tokens_per_micro_batch": 1},
    ]
    found = []
    for number, choice in enumerate(options):
        trainer = make(tmp_path / str(number), rows, **choice)
        trainer.train()
        found.append((trainer.state.log_history[0], trainer.optimizer.moments()))
    for row, moments in found[1:]:
        assert row["loss"] == pytest.approx(found[0][0]["loss"], rel=1e-6)
        assert row["grad_norm"] == pytest.approx(found[0][0]["grad_norm"], rel=1e-5)
        for name, (first, _) in moments.items():
            np.testing.assert_allclose(first, found[0][1][name][0], rtol=1e-4, atol=1e-7)


def test_losses_fall_and_the_saved_model_is_the_trained_one(tmp_path):
    trainer = make(tmp_path, num_train_epochs=20, max_steps=-1, per_device_train_batch_size=11)
    before = trainer.evaluate()["eval_loss"]
    done = trainer.train()
    assert done.global_step == 40 and trainer.state.epoch == 20.0
    assert trainer.evaluate()["eval_loss"] < 0.5 * before
    trainer.save_model(tmp_path / "model")
    for folder in ("model", "checkpoint-40"):
        again = Policy.from_pretrained(tmp_path / folder)
        for name, weight in again.model.parameters().items():
            assert np.array_equal(weight, trainer.policy.model.parameters()[name])
    state = json.loads((tmp_path / "checkpoint-40" / "trainer_state.json").read_text())
    assert state["global_step"] == 40 and state["log_history"][-1]["step"] == 40
    timings = [json.loads(line) for line in (tmp_path / "timings.jsonl").read_text().splitlines()]
    assert [row["step"] for row in timings] == list(range(1, 41)) and all(
        row["step_time"] > 0 for row in timings
    )
    assert "time" not in (tmp_path / "metrics.jsonl").read_text()


def test_the_last_batch_of_an_epoch_is_smaller_and_nothing_is_dropped(tmp_path):
    trainer = make(tmp_path, per_device_train_batch_size=8, num_train_epochs=1, max_steps=-1)
    assert trainer.train().global_step == 3
    assert trainer.state.num_input_tokens_seen == sum(len(record.token_ids) for record in trainer._records)


@pytest.mark.parametrize("style", ["plan", "cot", "raw"])
def test_plan_rows(style):
    tokenizer = make_byte_tokenizer()
    [record] = encode_rows([PLAN_ROW], tokenizer, prompt_style=style)
    masked = record.token_ids[~record.loss_mask]
    learned = record.token_ids[record.loss_mask]
    assert tokenizer.decode(masked, False) == build_prompt("1 + 1?", tokenizer, style=style)
    assert tokenizer.decode(learned, False) == format_record("add", "1 + 1 = 2", "2") + "<eos>"
    assert (learned[-1], list(learned).count(tokenizer.eos_token_id)) == (tokenizer.eos_token_id, 1)


def test_chat_rows_are_cut_where_the_last_assistant_turn_begins():
    tokenizer = make_byte_tokenizer()
    messages = [
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "and"}, {"role": "assistant", "content": "so"},
    ]  # fmt: skip
    rows = [{"messages": messages}, {"prompt": messages[:3], "completion": messages[3:]}]
    for record in encode_rows(rows, tokenizer):
        assert tokenizer.decode(record.token_ids[record.loss_mask], False) == "so<eos>"
        assert tokenizer.decode(record.token_ids, False).startswith("<|user|>hi<eos><|assistant|>ho<eos>")
    [whole] = encode_rows(rows[:1], tokenizer, completion_only_loss=False)
    assert whole.loss_mask.all()


def test_a_template_that_rewrites_earlier_turns_still_gives_the_completion():
    template = "{% for m in messages %}[{{ loop.index0 if loop.last else 'x' }}]{{ m.content }}{% endfor %}"
    tokenizer = make_byte_tokenizer(template + "{% if add_generation_prompt %}>{% endif %}")
    rows = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}]
    [record] = encode_rows(rows, tokenizer)
    assert tokenizer.decode(record.token_ids[record.loss_mask], False) == "ho<eos>"


def test_plain_text_rows_and_their_column():
    tokenizer = make_byte_tokenizer()
    for row, field in (({"text": "abc"}, "text"), ({"body": "abc"}, "body")):
        [record] = encode_rows([row], tokenizer, text_field=field)
        assert tokenizer.decode(record.token_ids, False) == "abc<eos>"
        assert record.num_targets == 3

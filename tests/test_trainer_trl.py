"""What the trainers share with TRL's beyond the loop: best model, early stop, own metrics, hub, model arguments."""

import json

import numpy as np
import pytest
from conftest import make_word_tokenizer
from training_toys import QUESTIONS, SFT_ROWS, policy, short

from ptagrpo import EarlyStoppingCallback
from ptagrpo.errors import CheckpointError, ConfigError, DataError
from ptagrpo.io import read_jsonl
from ptagrpo.policy import Policy
from ptagrpo.training import GRPOConfig, GRPOTrainer, PTAGRPOConfig, SFTConfig, SFTTrainer

BASE = policy()


def sft(folder, callbacks=(), trainer_options=None, **options):
    settings = {"max_steps": 6, "logging_steps": 2, "save_steps": 100, "per_device_train_batch_size": 4,
                "learning_rate": 1e-2, "disable_tqdm": True, "eval_strategy": "steps", "eval_steps": 1}  # fmt: skip
    args = SFTConfig(output_dir=str(folder), **{**settings, **options})
    return SFTTrainer(
        BASE.clone(), args, SFT_ROWS[:16], SFT_ROWS[16:], callbacks=callbacks, **(trainer_options or {})
    )


def grpo(folder, trainer_options=None, **options):
    settings = {"max_steps": 1, "num_generations": 4, "max_completion_length": 8, "prompt_style": "raw",
                "answer_kind": "exact", "disable_tqdm": True, "eval_strategy": "steps", "eval_steps": 1}  # fmt: skip
    args = GRPOConfig(output_dir=str(folder), **{**settings, **options})
    return GRPOTrainer(BASE.clone(), [short], args, QUESTIONS[:8], QUESTIONS[8:12], **(trainer_options or {}))


def scripted(values):
    """compute_metrics that tells `values` one after the other, whatever the model does."""
    remaining = iter(values)
    return lambda rows: {"score": next(remaining)}


def weights(folder):
    return {name: w.copy() for name, w in Policy.from_pretrained(folder).model.parameters().items()}


def same(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_the_best_model_is_kept_and_loaded_at_the_end(tmp_path):
    trainer = sft(
        tmp_path, load_best_model_at_end=True, metric_for_best_model="score", save_total_limit=1, save_steps=2,
        trainer_options={"compute_metrics": scripted([1.0, 2.0, 5.0, 4.0, 5.0, 1.0])},
    )  # fmt: skip
    trainer.train()
    state = trainer.state
    assert (state.best_metric, state.best_global_step) == (5.0, 3)
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-3")
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-6"]
    best, last = weights(tmp_path / "checkpoint-3"), weights(tmp_path / "checkpoint-6")
    assert same(best, trainer.policy.model.parameters()) and not same(best, last)
    stored = json.loads((tmp_path / "checkpoint-6" / "trainer_state.json").read_text())
    assert (stored["best_metric"], stored["best_model_checkpoint"]) == (5.0, str(tmp_path / "checkpoint-3"))


@pytest.mark.parametrize(
    "options, best", [({"metric_for_best_model": "score", "greater_is_better": False}, 2), ({}, 6)]
)
def test_which_way_is_better(tmp_path, options, best):
    scores = {"compute_metrics": scripted([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])}
    trainer = sft(tmp_path, load_best_model_at_end=True, trainer_options=scores, **options)
    trainer.train()  # without a metric: eval_loss, which falls in every step of this run
    assert trainer.state.best_global_step == best


def test_the_best_model_of_a_run_that_was_stopped_and_resumed(tmp_path):
    class Stop:
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 4

    values = [1.0, 5.0, 2.0, 3.0, 4.0, 4.5]
    first = sft(tmp_path / "a", [Stop], load_best_model_at_end=True, metric_for_best_model="score",
                trainer_options={"compute_metrics": scripted(values[:4])})  # fmt: skip
    first.train()
    second = sft(tmp_path / "a", load_best_model_at_end=True, metric_for_best_model="score",
                 trainer_options={"compute_metrics": scripted(values[4:])})  # fmt: skip
    second.train(resume_from_checkpoint=True)
    whole = sft(tmp_path / "b", load_best_model_at_end=True, metric_for_best_model="score",
                trainer_options={"compute_metrics": scripted(values)})  # fmt: skip
    whole.train()
    assert second.state.best_global_step == whole.state.best_global_step == 2
    assert same(second.policy.model.parameters(), whole.policy.model.parameters())
    assert same(weights(tmp_path / "a" / "checkpoint-6"), weights(tmp_path / "b" / "checkpoint-6"))


def test_contradictions_about_the_best_model(tmp_path):
    with pytest.raises(ConfigError, match="load_best_model_at_end needs evaluations"):
        SFTConfig(load_best_model_at_end=True)
    with pytest.raises(ConfigError, match="no 'eval_acuracy'; it has eval_loss"):
        sft(tmp_path, load_best_model_at_end=True, metric_for_best_model="acuracy").train()
    assert PTAGRPOConfig().best_metric == "eval_reward" and PTAGRPOConfig().best_is_greatest
    assert SFTConfig().best_metric == "eval_loss" and not SFTConfig().best_is_greatest


@pytest.mark.parametrize(
    "patience, threshold, stops",
    [(1, 0.0, 4), (2, 0.0, 6), (1, 0.75, 2), (3, 0.0, 6)],
)
def test_early_stopping(tmp_path, patience, threshold, stops):
    scores = {"compute_metrics": scripted([1.0, 1.5, 2.5, 2.0, 2.6, 2.6])}
    trainer = sft(
        tmp_path, [EarlyStoppingCallback(patience, threshold)], metric_for_best_model="score", trainer_options=scores
    )  # fmt: skip
    assert trainer.train().global_step == stops


def test_early_stopping_is_the_same_callback_of_transformers_and_survives_a_resume(tmp_path):
    values = [3.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    theirs = pytest.importorskip("transformers").EarlyStoppingCallback(2)
    for name, callback in (("ours", EarlyStoppingCallback(2)), ("theirs", theirs)):
        trainer = sft(tmp_path / name, [callback], metric_for_best_model="score", load_best_model_at_end=True,
                      trainer_options={"compute_metrics": scripted(values)})  # fmt: skip
        assert trainer.train().global_step == 3, name
    again = sft(tmp_path / "ours", [EarlyStoppingCallback(2)], metric_for_best_model="score",
                load_best_model_at_end=True, trainer_options={"compute_metrics": scripted(values)})  # fmt: skip
    assert again.train(resume_from_checkpoint=True).global_step == 3


def test_early_stopping_refuses_what_cannot_work(tmp_path):
    with pytest.raises(ConfigError, match="early_stopping_patience: got 0"):
        EarlyStoppingCallback(0)
    with pytest.raises(ConfigError, match="needs evaluations"):
        sft(tmp_path, [EarlyStoppingCallback], eval_strategy="no").train()


def test_logging_of_the_first_step_and_evaluation_on_start(tmp_path):
    sft(
        tmp_path, logging_first_step=True, logging_steps=4, eval_on_start=True, eval_steps=2, eval_delay=3
    ).train()
    rows = list(read_jsonl(tmp_path / "metrics.jsonl"))
    assert [row["step"] for row in rows if "loss" in row] == [1, 4, 6]
    assert [row["step"] for row in rows if "eval_loss" in row] == [0, 4, 6]


def test_checkpoints_of_the_model_alone(tmp_path):
    sft(tmp_path, save_only_model=True, save_steps=3).train()
    folder = tmp_path / "checkpoint-3"
    assert (folder / "model.safetensors").exists() and not (folder / "optimizer.safetensors").exists()
    Policy.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="save_only_model, and a run cannot go on"):
        sft(tmp_path, save_only_model=True).train(resume_from_checkpoint=True)


def test_own_metrics_of_an_sft_evaluation(tmp_path):
    def compute(rows):
        return {"rows": len(rows), "nll": -sum(float(r["logprobs"].sum()) for r in rows),
                "tokens": sum(len(r["token_ids"]) for r in rows)}  # fmt: skip

    metrics = sft(
        tmp_path, trainer_options={"compute_metrics": compute}, per_device_eval_batch_size=4
    ).evaluate()
    assert metrics["eval_rows"] == 6 and metrics["eval_tokens"] == metrics["eval_num_tokens"]
    assert metrics["eval_nll"] / metrics["eval_tokens"] == pytest.approx(metrics["eval_loss"], rel=1e-5)


def test_own_metrics_and_number_of_responses_of_an_rl_evaluation(tmp_path):
    seen = []
    options = {
        "compute_metrics": lambda rows: seen.append(rows) or {"longest": max(r["length"] for r in rows)}
    }
    metrics = grpo(tmp_path, options, num_generations_eval=2).evaluate()
    assert len(seen[0]) == 4 * 2 and metrics["eval_longest"] == max(row["length"] for row in seen[0])
    assert {"prompt", "completion", "answer", "correct", "rewards"} <= set(seen[0][0])
    assert metrics["eval_reward"] == pytest.approx(np.mean([row["reward"] for row in seen[0]]))
    assert len(grpo(tmp_path / "b").evaluate()) and "eval_longest" not in grpo(tmp_path / "c").evaluate()
    with pytest.raises(
        ConfigError, match="num_generations_eval: got 3, but evaluation samples whole plan trees"
    ):
        PTAGRPOConfig(num_generations_eval=3)


@pytest.mark.parametrize("wrong", [[1.0], {"score": "high"}, {"score": float("nan")}])
def test_own_metrics_that_are_none(tmp_path, wrong):
    with pytest.raises(ConfigError, match="compute_metrics"):
        sft(tmp_path, trainer_options={"compute_metrics": lambda rows: wrong}).evaluate()


# --- model, tokenizer, arguments ---


def test_model_init_kwargs(tmp_path):
    BASE.save(tmp_path / "model")
    options = {"train_dataset": SFT_ROWS}
    for dtype, expected in (("bfloat16", "bfloat16"), ("torch.bfloat16", "bfloat16"), ("auto", "float32")):
        args = SFTConfig(output_dir=str(tmp_path / "run"), model_init_kwargs={"dtype": dtype})
        assert SFTTrainer(str(tmp_path / "model"), args, **options).policy.dtype == expected
    with pytest.raises(ConfigError, match="are for a model given by path"):
        SFTTrainer(BASE.clone(), args, **options)
    with pytest.raises(ConfigError, match="'device_map' is not supported"):
        SFTConfig(model_init_kwargs={"device_map": "auto"})
    with pytest.raises(ConfigError, match="got 'float16'"):
        SFTConfig(model_init_kwargs={"dtype": "float16"})


def test_a_tokenizer_of_ones_own(tmp_path):
    args = SFTConfig(output_dir=str(tmp_path / "run"))
    own = make_word_tokenizer()
    trainer = SFTTrainer(BASE.clone(), args, SFT_ROWS, processing_class=own)
    assert trainer.processing_class is own and trainer.model is trainer.policy
    transformers = pytest.importorskip("transformers")
    BASE.save(tmp_path / "model")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    trainer = SFTTrainer(str(tmp_path / "model"), args, SFT_ROWS, processing_class=theirs)
    assert trainer.processing_class.encode("what is 1 + 2 ?") == own.encode("what is 1 + 2 ?")
    with pytest.raises(ConfigError, match="processing_class: expected .* got int"):
        SFTTrainer(BASE.clone(), args, SFT_ROWS, processing_class=3)


def test_arguments_that_only_other_trainers_have(tmp_path):
    args = SFTConfig(output_dir=str(tmp_path / "run"))
    SFTTrainer(BASE.clone(), args, SFT_ROWS, callbacks=None, peft_config=None, optimizers=(None, None))
    with pytest.raises(ConfigError, match="SFTTrainer: quantization_config is not supported"):
        SFTTrainer(BASE.clone(), args, SFT_ROWS, quantization_config=object())
    with pytest.raises(
        ConfigError, match="peft_config: expected ptagrpo.LoraConfig, or a LoraConfig of PEFT, got object"
    ):
        SFTTrainer(BASE.clone(), args, SFT_ROWS, peft_config=object())
    with pytest.raises(ConfigError, match="no argument 'eval_datset'. Did you mean 'eval_dataset'?"):
        SFTTrainer(BASE.clone(), args, SFT_ROWS, eval_datset=[])
    with pytest.raises(
        ConfigError, match="model: expected a ptagrpo Policy, a folder or a hub id, got object"
    ):
        SFTTrainer(object(), args, SFT_ROWS)


# --- the hub, by a stubbed client ---


class StubHub:
    """Stands for huggingface_hub.HfApi: notes what is asked and can be down."""

    calls: list = []
    down = False

    def __init__(self, token=None):
        self.calls.append(("api", token))

    def create_repo(self, name, private=None, exist_ok=False):
        if StubHub.down:
            raise ConnectionError("no route to the hub")
        self.calls.append(("repo", name, private, exist_ok))
        return type("Repo", (), {"repo_id": f"me/{name}"})()

    def create_branch(self, repo_id, branch, exist_ok):
        self.calls.append(("branch", repo_id, branch))

    def upload_folder(self, repo_id, folder_path, commit_message, revision):
        loaded = Policy.from_pretrained(folder_path)
        self.calls.append(("upload", repo_id, commit_message, revision, loaded.num_parameters))
        return f"hub/{repo_id}/commit"


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", StubHub)
    StubHub.calls, StubHub.down = [], False
    return StubHub


def uploads(hub):
    return [call[2] for call in hub.calls if call[0] == "upload"]


def test_a_run_is_pushed_at_its_end_and_at_checkpoints(tmp_path, hub):
    sft(tmp_path / "toy", push_to_hub=True, hub_strategy="end", save_steps=2).train()
    assert uploads(hub) == ["End of training"] and ("repo", "toy", None, True) in hub.calls
    hub.calls.clear()
    sft(tmp_path / "b", push_to_hub=True, hub_model_id="team/toy", hub_private_repo=True, hub_revision="dev",
        save_steps=2).train()  # fmt: skip
    steps = ["Training in progress, step 2", "Training in progress, step 4", "End of training"]
    assert uploads(hub) == steps and ("branch", "me/team/toy", "dev") in hub.calls
    assert ("upload", "me/team/toy", "End of training", "dev", BASE.num_parameters) in hub.calls


def test_no_network_is_told_whatever_the_http_library_calls_it(tmp_path, hub, monkeypatch):
    class ConnectError(Exception):  # httpx's errors are neither OSError nor RuntimeError
        pass

    def fail(*_, **__):
        raise ConnectError("Name or service not known")

    monkeypatch.setattr(hub, "create_repo", fail)
    with pytest.warns(RuntimeWarning, match="push_to_hub: toy: ConnectError: Name or service"):
        assert sft(tmp_path / "toy", push_to_hub=True, hub_strategy="end").train().global_step == 6


def test_evaluate_takes_other_data_and_another_prefix(tmp_path):
    trainer = sft(tmp_path / "sft")
    own = trainer.evaluate()
    assert trainer.evaluate(SFT_ROWS[16:]) == own
    other = trainer.evaluate(eval_dataset=SFT_ROWS[:3], metric_key_prefix="test")
    assert set(other) == {"test_loss", "test_num_tokens"} and other["test_loss"] != own["eval_loss"]
    trainer = grpo(tmp_path / "grpo")
    found = trainer.evaluate(eval_dataset=QUESTIONS[:3], metric_key_prefix="test")
    assert found["test_reward"] == trainer.evaluate(QUESTIONS[:3])["eval_reward"]
    with pytest.raises(DataError):
        trainer.evaluate([])


def test_how_torch_recomputes_activations_is_nothing_to_refuse():
    for value in (None, {"use_reentrant": False}, {"use_reentrant": True}):
        GRPOConfig(gradient_checkpointing=True, gradient_checkpointing_kwargs=value)
    with pytest.raises(ConfigError, match="gradient_checkpointing_kwargs"):
        SFTConfig(gradient_checkpointing_kwargs={"preserve_rng_state": True})


def test_a_hub_that_is_down_does_not_end_the_run(tmp_path, hub):
    hub.down = True
    trainer = sft(tmp_path / "toy", push_to_hub=True, hub_strategy="end")
    with pytest.warns(RuntimeWarning, match="push_to_hub: toy: ConnectionError: no route to the hub"):
        assert trainer.train().global_step == 6
    with pytest.raises(CheckpointError, match="hf auth login"):
        trainer.push_to_hub()
    hub.down = False
    assert trainer.push_to_hub("again", token="secret") == "hub/me/toy/commit"
    assert uploads(hub) == ["again"] and ("api", "secret") in hub.calls
    stored = "".join(path.read_text() for path in tmp_path.rglob("*.json") if "tokenizer" not in path.name)
    assert "secret" not in stored
    with pytest.raises(ConfigError, match="hub_token.*hf auth login"):
        SFTConfig(hub_token="secret")


def test_the_record_of_a_run(tmp_path):
    trainer = sft(tmp_path, save_steps=3, max_steps=3)
    trainer.train()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["class"] == "SFTConfig" and SFTConfig.from_dict(record["settings"]) == trainer.args
    assert record["model"]["parameters"] == BASE.num_parameters
    assert record["environment"]["packages"]["numpy"] == np.__version__
    assert record["environment"]["build"]["kernels"]["float32"]
    sft(tmp_path, save_steps=3, max_steps=3).train(resume_from_checkpoint=True)
    record = json.loads((tmp_path / "run.json").read_text())
    assert [start["step"] for start in record["starts"]] == [0, 3]

"""configs/paper: one file for each run of the paper, with the paper's figures, and accepted as they are."""

from pathlib import Path

import pytest

from ptagrpo.cli.arguments import read_yaml
from ptagrpo.cli.run_training import _split
from ptagrpo.data.formats import all_formats
from ptagrpo.training import PTAGRPOConfig, SFTConfig

FOLDER = Path(__file__).resolve().parent.parent / "configs" / "paper"
# Steps of stage 2 and tokens of a response: section A.10 of the paper; None: it gives no figure for this model.
PAPER = {
    "llama3.2_3b": (350, None),
    "qwen2.5_7b": (350, 3500),
    "qwen3_8b": (150, 4500),
    "qwen3_14b": (50, None),
    "qwen2.5_vl_7b": (None, None),
}
OWN_SFT = [
    "model",
    "train_dataset",
    "eval_dataset",
    "output_dir",
    "dataset_config",
    "dataset_train_split",
    "limit",
]


def read(name, config_class, *more):
    """(command's options, configuration) of a file, read as the command line reads it."""
    own = dict.fromkeys([*OWN_SFT, "resume", *more]) | {"columns": []}
    options, settings = _split(FOLDER / f"{name}.yaml", own, [], config_class)
    return options, config_class.from_dict(settings)


def test_there_is_a_file_for_each_run():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {
        f"{m}_{stage}" for m in PAPER for stage in ("sft", "rl")
    }


@pytest.mark.parametrize("model", PAPER)
def test_stage_one(model):
    options, config = read(f"{model}_sft", SFTConfig)
    assert config.num_train_epochs == 3
    assert options["model"].split("/")[0] in ("Qwen", "meta-llama")
    text = (FOLDER / f"{model}_sft.yaml").read_text()
    assert f"configs/paper/{model}_sft.yaml" in text and "--limit 10000" in text


@pytest.mark.parametrize("model", PAPER)
def test_stage_two(model):
    options, config = read(f"{model}_rl", PTAGRPOConfig, "algorithm", "reward_funcs", "data_format")
    steps, length = PAPER[model]
    assert read_yaml(FOLDER / f"{model}_rl.yaml")["algorithm"] == "pta_grpo"
    assert config.max_steps == (steps or config.max_steps)
    assert config.max_completion_length == (length or config.max_completion_length)
    assert (config.num_plans, config.cots_per_plan, config.questions_per_step) == (4, 3, 128)
    assert (config.temperature, config.top_p, config.learning_rate, config.weight_decay) == (
        1.0,
        1.0,
        1e-6,
        0.01,
    )
    assert (config.warmup_steps, config.warmup_ratio, config.lr_scheduler_type) == (0, 0.0, "constant")
    assert (config.plan_reward_weight, config.structure_reward) == (0.5, 0.2)
    assert options["limit"] == 60000 and options["train_dataset"] in all_formats()
    assert options["model"] == read(f"{model}_sft", SFTConfig)[1].output_dir

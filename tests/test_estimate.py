"""What a run would take, from its configuration: against what runs take, and against what loading refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import ptagrpo
from ptagrpo import _core
from ptagrpo.errors import ConfigError
from ptagrpo.models import ModelConfig
from ptagrpo.training.estimate import (
    METHODS,
    Setup,
    Tree,
    estimate,
    largest_group,
    longest_response,
    plan_tree,
)
from ptagrpo.training.probe import step_seconds

GIB = 1 << 30
DRIVER = Path(__file__).resolve().parent / "memory_driver.py"
MIDDLE = {  # 33 million parameters: large enough for its tensors to outweigh what Python does meanwhile
    "model_type": "qwen2", "vocab_size": 8192, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
    "max_position_embeddings": 4096, "tie_word_embeddings": True, "initializer_range": 0.02,
}  # fmt: skip
QWEN3_14B = {
    **MIDDLE, "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 5120, "intermediate_size": 17408,
    "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128,
    "tie_word_embeddings": False, "max_position_embeddings": 40960,
}  # fmt: skip
TREE = {"num_plans": 3, "cots_per_plan": 2, "max_prompt_length": 100, "max_completion_length": 160}


def run(script: list[str]) -> dict:
    done = subprocess.run([sys.executable, *script], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("method, checkpointing", [
    ("full", False), ("lora", True), ("lora-int8", False), ("lora-int4", True)
])  # fmt: skip
def test_the_estimate_is_the_peak_of_a_run(method, checkpointing):
    options = {"config": MIDDLE, "method": method, "tree": TREE, "steps": 2, "checkpointing": checkpointing}
    found = run([str(DRIVER), json.dumps(options)])
    assert found["tokens"] == 3 * 80 + 6 * 80  # all of them reached their limits: the estimate's case
    assert found["estimate"] == pytest.approx(found["peak"], rel=0.10), found
    for real, probed in zip(found["seconds"], found["probe"], strict=True):  # docs/memory.md has a quiet machine's
        assert real / 6 < probed < 6 * real, found


def test_sizes_are_those_of_a_real_model():
    """The plan of a model says what the model itself says."""
    config = ModelConfig.from_dict({**MIDDLE, "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96,
                                    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                                    "head_dim": 16})  # fmt: skip
    tree = Tree(2, 2, 70, 24)
    forest = tree.forest()
    targets = forest.num_tokens - tree.max_prompt_length
    for method, quantization in METHODS.items():
        for keep in ("all", "inputs"):
            setup = Setup(config, method)
            sizes = _core.plan_bytes(setup.core_config, forest, keep, forest, 4, **setup.adapter)
            model = _core.Model(config.core_config("bfloat16", quantization))
            if setup.adapter:
                model.add_adapter(16, 1.0, setup.adapter["targets"])
            memory = model.memory()
            assert sizes["weights"] + sizes["adapter"] == memory["weights"]
            assert sizes["packed"] + sizes["gradients"] == memory["to_allocate"]
            assert sizes["activations"] == _core.train_bytes(model, forest, targets, keep)
            assert sizes["forward"] == _core.train_bytes(model, forest, targets, "nothing")
            assert sizes["moments"] == 8 * (sizes["gradients"] // 4)
            if method == "full":
                model.gradients()
                model.forward(forest, np.zeros(1, np.int32), np.zeros(1, np.int32))
                assert model.memory()["packed"] == sizes["packed"]
                assert model.memory()["gradients"] == sizes["gradients"]
            # prompt: 70 tokens in two pages; each plan and chain begins inside the second one
            page = 2 * 2 * 2 * 16 * 64 * 2
            assert sizes["cache"] == page * (2 + 2 + 4) + 3 * 64 * 2


def test_a_cache_holds_what_was_planned():
    config = ModelConfig.from_dict({**MIDDLE, "vocab_size": 300, "num_hidden_layers": 1})
    model = _core.Model(config.core_config("bfloat16"))
    tree = Tree(2, 2, 60, 140, 20)
    cache = _core.Cache(model)
    prompt = cache.prefill([np.zeros(60, np.int32)], np.array([-1], np.int64))
    options = {
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "eos": np.zeros(0, np.int32),
        "keep": True,
    }
    plans = cache.sample(
        np.repeat(prompt, 2), np.arange(2, dtype=np.uint64), np.full(2, 20, np.int32), **options
    )
    chains = np.repeat(plans["handles"], 2)
    cache.sample(chains, np.arange(4, dtype=np.uint64), np.full(4, 120, np.int32), **options)
    forest = tree.forest()
    assert cache.bytes == _core.plan_bytes(config.core_config("bfloat16"), forest, "all", forest, 4)["cache"]


def test_the_probe_leaves_out_layers_and_tokens_of_any_family():
    changes = {"num_hidden_layers": 5, "hidden_size": 64, "intermediate_size": 96, "vocab_size": 20000, "head_dim": 16,
               "num_attention_heads": 4}  # fmt: skip
    for family in ({"model_type": "smollm3"}, {"model_type": "llama"}):
        config = ModelConfig.from_dict({**MIDDLE, **changes, **family})
        seconds = step_seconds(Setup(config, "lora"), Tree(2, 2, 20, 16), "all")
        assert seconds is not None and min(seconds) > 0


def test_images_are_counted_where_there_is_a_tower():
    """One image that fills the prompt; Qwen2.5-VL-7B's tower, 512 tokens of 28 x 28 pixels."""
    from vision_helpers import CONFIG

    tree = Tree(2, 2, 30, 24)
    parts = estimate(Setup(ModelConfig.from_dict(CONFIG), "lora"), tree).parts
    model = _core.Model(ModelConfig.from_dict(CONFIG).core_config("bfloat16", "bfloat16"))
    assert parts["images"] == model.see_bytes(np.array([[10, 12]], np.int32))  # 5 x 6 tokens
    assert "images" not in estimate(Setup(ModelConfig.from_dict(MIDDLE), "lora"), tree).parts


def test_full_size_models_cost_nothing_to_estimate():
    sizes = {
        method: estimate(Setup(ModelConfig.from_dict(QWEN3_14B), method), Tree(), 24 * GIB)
        for method in METHODS
    }
    parameters = ModelConfig.from_dict(QWEN3_14B).num_parameters
    assert sizes["full"].parts["weights"] == pytest.approx(4 * parameters, rel=1e-6)
    assert sizes["full"].parts["optimizer"] == 2 * sizes["full"].parts["gradients"]
    assert sizes["lora"].parts["weights"] == pytest.approx(2 * parameters, rel=1e-3)
    totals = [sizes[method].total for method in METHODS]
    assert totals == sorted(totals, reverse=True) and totals[0] > 200 * GIB and totals[-1] < 24 * GIB
    reference = estimate(Setup(ModelConfig.from_dict(QWEN3_14B), "full", beta=0.1), Tree()).parts
    assert reference["reference policy"] > reference["weights"] + reference["working copies"]
    assert not estimate(Setup(ModelConfig.from_dict(QWEN3_14B), "lora", beta=0.1), Tree()).parts[
        "reference policy"
    ]


def test_the_largest_that_fits_fits_and_one_more_does_not():
    setup, tree, memory = Setup(ModelConfig.from_dict(QWEN3_14B), "lora-int4"), Tree(), 24 * GIB
    assert estimate(setup, tree, memory).keep == "inputs"  # all of them would be 40 GiB
    plans, length = largest_group(setup, tree, memory), longest_response(setup, tree, memory)
    assert plans >= 4 and length >= 512
    for good, bad in (({"num_plans": plans}, {"num_plans": plans + 1}),
                      ({"max_completion_length": length}, {"max_completion_length": length + 1})):  # fmt: skip
        assert estimate(setup, Tree(**{**vars(tree), **good}), memory).total <= memory
        assert estimate(setup, Tree(**{**vars(tree), **bad}), memory).total > memory
    full = Setup(setup.config, "full")
    assert largest_group(full, tree, memory) == longest_response(full, tree, memory) == 0
    assert longest_response(setup, tree, 1 << 50) == 40960 - 512  # positions end before memory does


def test_a_plan_tree():
    assert plan_tree(5, 2, 3, plans=2, chains=1) == ([5, 2, 3, 2, 3], [-1, 0, 1, 0, 3])
    assert Tree(max_completion_length=9).plan_length == 4 and Tree(max_plan_length=10**6).plan_length == 512
    with pytest.raises(ConfigError, match="cots_per_plan: got 0"):
        Tree(cots_per_plan=0)
    with pytest.raises(ConfigError, match="expected one of full, lora, lora-int8, lora-int4"):
        Setup(ModelConfig.from_dict(MIDDLE), "qlora")


# Loading.

SMALL = {**MIDDLE, "vocab_size": 4096, "hidden_size": 512, "intermediate_size": 8192, "num_hidden_layers": 2}
LOAD = """
import json, sys
import ptagrpo
from ptagrpo.checkpoint import load_model
def size(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) * 1024
before = size("VmRSS")
ptagrpo.set_num_threads(2)
model, _ = load_model(sys.argv[1], "bfloat16", sys.argv[2] or None)
print(json.dumps({"peak": size("VmHWM") - before, "final": model.memory()["weights"]}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards in bfloat16, 28 million numbers."""
    import ml_dtypes

    path = tmp_path_factory.mktemp("model")
    shapes = ModelConfig.from_dict(SMALL).parameter_shapes()
    names, generator = list(shapes), np.random.default_rng(0)
    shards = {"a.safetensors": names[: len(names) // 2], "b.safetensors": names[len(names) // 2 :]}
    for file, part in shards.items():
        save_file({name: generator.standard_normal(shapes[name], np.float32).astype(ml_dtypes.bfloat16)
                   for name in part}, path / file)  # fmt: skip
    where = {name: file for file, part in shards.items() for name in part}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (path / "config.json").write_text(json.dumps(SMALL))
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("quantization", ["", "int8"])
def test_loading_takes_the_model_and_one_tensor(folder, quantization):
    found = run(["-c", LOAD, str(folder), quantization])
    tensor = 4 * 8192 * 512  # the largest, in float32
    scratch = (16 + 2 * 4 + 4) << 20  # of two threads, and what large pages round up
    assert found["final"] < found["peak"] <= found["final"] + tensor + scratch, found


def test_a_model_that_cannot_fit_is_refused_before_it_is_read(folder, monkeypatch):
    from ptagrpo.checkpoint import fitting, load_model, reading

    def untouched(*_):
        raise AssertionError("a header was read")

    monkeypatch.setattr(fitting, "resident_memory", lambda: 100 << 20)
    monkeypatch.setattr(reading, "_plan", untouched)
    told = (
        r"masters and working copies take 0\.16 GiB, but max_memory \(190MiB\) leaves 0\.09 GiB beside the 0\.10 GiB "
        r".*quantization='bfloat16' \(0\.06 GiB\), .*'int8'"
    )
    with pytest.raises(ConfigError, match=told):
        load_model(folder, "bfloat16", max_memory="190MiB")
    with pytest.raises(ConfigError, match=r"int8 weights take .* no smaller form fits either \(int4: 0\.0"):
        load_model(folder, "bfloat16", "int8", max_memory=101 << 20)
    with pytest.raises(ConfigError, match="there is no smaller form"):
        load_model(folder, "bfloat16", "int4", max_memory=101 << 20)
    with pytest.raises(AssertionError, match="a header was read"):
        load_model(folder, "bfloat16", "int8", max_memory="190MiB")
    with pytest.raises(ConfigError, match="max_memory: expected something like"):
        load_model(folder, max_memory="a lot")


def test_load_and_trainers_pass_max_memory_on(tmp_path, tiny_policy):
    saved = tiny_policy().save(tmp_path / "model")
    assert ptagrpo.load(saved, max_memory="64GiB").num_parameters
    with pytest.raises(ConfigError, match=r"max_memory \(1MiB\) leaves 0\.00 GiB"):
        ptagrpo.load(saved, max_memory="1MiB")
    args = ptagrpo.PTAGRPOConfig(output_dir=str(tmp_path / "run"), max_memory="1MiB")
    with pytest.raises(ConfigError, match=r"max_memory \(1MiB\) leaves"):
        ptagrpo.PTAGRPOTrainer(str(saved), args=args, train_dataset=[{"prompt": "1", "answer": "1"}])


# The command.


def test_the_command_reads_the_configuration_alone(tmp_path, capsys, monkeypatch):
    from ptagrpo.cli.main import main

    (tmp_path / "config.json").write_text(json.dumps(QWEN3_14B))
    lengths = ["--max_prompt_length", "128", "--max_completion_length", "256"]
    assert main(["estimate-memory", str(tmp_path), "--memory", "24GiB", "--no_probe", *lengths]) == 0
    text = capsys.readouterr().out
    lines = {line[:16].strip(): line[16:].split() for line in text.splitlines()}
    assert lines["fits"] == ["no", "no", "yes", "yes"] and "14.77 billion parameters in 40 layers" in text
    assert lines["largest group"][:2] == ["-", "-"] and "about *" not in text
    assert float(lines["weights"][0]) == pytest.approx(4 * 14.77e9 / GIB, rel=1e-3)
    assert "reference policy" not in lines
    file = [
        str(tmp_path / "config.json"),
        "--method",
        "full,lora-int4",
        "--memory",
        "24GiB",
        "--no-probe",
        "--json",
    ]
    assert main(["estimate-memory", *file, "--beta", "0.1", *lengths]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["methods"]) == ["full", "lora-int4"] and found["memory"] == 24 * GIB
    full = found["methods"]["full"]
    assert full["bytes"]["reference policy"] > 0 and not full["fits"] and full["seconds"] is None
    assert full["total"] == sum(full["bytes"].values())
    small = found["methods"]["lora-int4"]
    tree = Tree(max_prompt_length=128, max_completion_length=256)
    parts = estimate(Setup(ModelConfig.from_dict(QWEN3_14B), "lora-int4"), tree, 20 * GIB).parts
    assert {name: small["bytes"][name] for name in parts} == parts


def test_the_command_times_a_layer(tmp_path, capsys):
    from ptagrpo.cli.main import main

    (tmp_path / "config.json").write_text(json.dumps({**MIDDLE, "hidden_size": 64, "intermediate_size": 128}))
    assert main(["estimate-memory", str(tmp_path), "--max_completion_length", "64", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["methods"]
    assert list(found) == list(METHODS)
    assert all(
        method["seconds"]["rollout"] > 0 and method["seconds"]["update"] > 0 for method in found.values()
    )
    assert main(["estimate-memory", str(tmp_path), "--max_completion_length", "64"]) == 0
    assert "* an estimate: one layer was timed on this machine" in capsys.readouterr().out


def test_the_command_fetches_one_file_of_the_hub(monkeypatch, tmp_path, capsys):
    import huggingface_hub

    from ptagrpo.cli.main import main

    asked = []

    def snapshot_download(name, allow_patterns, **_):
        asked.append((name, allow_patterns))
        (tmp_path / "config.json").write_text(json.dumps(MIDDLE))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert main(["estimate-memory", "some/model", "--method", "lora", "--no_probe"]) == 0
    assert asked == [("some/model", ["config.json"])]
    capsys.readouterr()
    for arguments, told in (
        (
            [str(tmp_path), "--method", "qlora"],
            "method: expected one of full, lora, lora-int8, lora-int4, or all",
        ),
        ([str(tmp_path), "--memory", "much"], "--memory: expected something like"),
        ([str(tmp_path / "none.json")], "no such folder"),
        ([str(tmp_path), "--dtype", "float16"], "dtype: expected 'float32' or 'bfloat16'"),
    ):
        assert main(["estimate-memory", *arguments, "--no_probe"]) == 2
        assert told in capsys.readouterr().err

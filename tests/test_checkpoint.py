"""Model folders: what is written is read back exactly, also by transformers; damaged ones are refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from ptagrpo import checkpoint
from ptagrpo.checkpoint import load_model, parse_size, save_model, swap
from ptagrpo.checkpoint.reading import read_header
from ptagrpo.errors import CheckpointError, ConfigError
from ptagrpo.models import ModelConfig
from ptagrpo.policy import Policy

FAMILIES = ["llama", "qwen2", "qwen3"]


def weights_of(policy) -> dict[str, np.ndarray]:
    return {name: view.copy() for name, view in policy.model.parameters().items()}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return set(left) == set(right) and all(np.array_equal(left[k], right[k]) for k in left)


def leftovers(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_is_read_back(tiny_policy, tmp_path, family, shards):
    policy = tiny_policy(family)
    total = 4 * policy.num_parameters
    policy.save(tmp_path / "model", max_shard_size=total if shards == 1 else total // 3)
    names = sorted(p.name for p in (tmp_path / "model").glob("*.safetensors"))
    if shards == 1:
        assert names == ["model.safetensors"]
    else:
        assert len(names) >= 3 and names[0] == f"model-00001-of-{len(names):05d}.safetensors"
        index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == total
        assert set(index["weight_map"]) == set(policy.model.parameters())
        assert all(os.path.getsize(tmp_path / "model" / n) < total // 3 + 4096 for n in names[1:])
    again = Policy.from_pretrained(tmp_path / "model")
    assert same(weights_of(again), weights_of(policy))
    assert again.config.core_config().keys() == policy.config.core_config().keys()
    assert again.tokenizer.fingerprint() == policy.tokenizer.fingerprint()
    assert again.tokenizer.eos_token_ids == policy.tokenizer.eos_token_ids
    assert leftovers(tmp_path) == []
    sequence = [1, 5, 9, 200, 31]
    assert np.array_equal(again.logprobs([sequence])[0], policy.logprobs([sequence])[0])


def test_the_safetensors_library_agrees_with_the_writer(tiny_policy, tmp_path):
    policy = tiny_policy("qwen2")
    policy.save(tmp_path / "model")
    assert same(safetensors.numpy.load_file(tmp_path / "model" / "model.safetensors"), weights_of(policy))
    with safetensors.safe_open(str(tmp_path / "model" / "model.safetensors"), "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_bfloat16_rounds_to_nearest_and_is_read_exactly(tiny_policy, tmp_path):
    policy = tiny_policy("qwen3")
    policy.save(tmp_path / "model", dtype="bfloat16")
    header, _ = read_header(tmp_path / "model" / "model.safetensors")
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"BF16"}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    rounded = {k: v.astype(ml_dtypes.bfloat16).astype(np.float32) for k, v in weights_of(policy).items()}
    assert same(weights_of(Policy.from_pretrained(tmp_path / "model")), rounded)
    assert not same(rounded, weights_of(policy))


def test_float16_is_read(tiny_policy, tmp_path):
    policy = tiny_policy("llama")
    policy.save(tmp_path / "model")
    half = {k: v.astype(np.float16) for k, v in weights_of(policy).items()}
    safetensors.numpy.save_file(half, tmp_path / "model" / "model.safetensors")
    model, _ = load_model(tmp_path / "model")
    assert same(dict(model.parameters()), {k: v.astype(np.float32) for k, v in half.items()})


def test_large_tensors_are_read_in_blocks(tiny_policy, tmp_path, monkeypatch):
    policy = tiny_policy("llama")
    monkeypatch.setattr(checkpoint.reading, "BLOCK_ELEMENTS", 100)
    monkeypatch.setattr(checkpoint.writing, "BLOCK_ELEMENTS", 77)
    policy.save(tmp_path / "model", dtype="float32")
    assert same(weights_of(Policy.from_pretrained(tmp_path / "model")), weights_of(policy))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_what_is_saved_with_the_same_logits(tiny_policy, tmp_path, family, dtype):
    torch = pytest.importorskip(
        "torch", reason="torch is not installed: loading in transformers is not tried"
    )
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    policy = tiny_policy(family, rope_scaling=scaling if family == "llama" else None, rope_theta=5000.0)
    policy.save(tmp_path / "model", dtype=dtype, max_shard_size=30_000)
    ours = Policy.from_pretrained(tmp_path / "model")
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.float64, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert theirs.config.rope_parameters["rope_theta"] == 5000.0
    tokens = np.random.default_rng(0).integers(0, policy.config.vocab_size, 40)
    with torch.no_grad():
        logprobs = torch.log_softmax(theirs(torch.from_numpy(tokens)[None]).logits[0], -1).numpy()
    expected = logprobs[np.arange(39), tokens[1:]]
    np.testing.assert_allclose(ours.logprobs([tokens])[0], expected, rtol=0, atol=2e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    text = "a <plan>x</plan> é <eos>"
    assert tokenizer.encode(text, add_special_tokens=False) == ours.tokenizer.encode(text)
    messages = [{"role": "user", "content": "hi"}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == ours.tokenizer.apply_chat_template(messages)
    assert theirs.generation_config.eos_token_id == ours.tokenizer.eos_token_ids[0]


def damaged(folder, how):
    """Damage a saved sharded folder; return the regular expression that its error must match."""
    index = folder / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    last = folder / table["weight_map"]["model.norm.weight"]

    def rewrite(change):
        tensors = safetensors.numpy.load_file(last)
        change(tensors)
        safetensors.numpy.save_file(tensors, last)

    if how == "truncated":
        last.write_bytes(last.read_bytes()[:-5])
        return f"{last.name}: not a whole safetensors file"
    if how == "empty file":
        last.write_bytes(b"")
        return f"{last.name}: not a whole"
    if how == "no header":
        last.write_bytes(b"\xff" * 200)
        return f"{last.name}: not a whole"
    if how == "lying offsets":
        data = last.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        name = next(n for n in header if n != "__metadata__")
        header[name]["shape"][0] += 1
        text = json.dumps(header).encode()
        last.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
        return f"{last.name}: not a whole"
    if how == "missing shard":
        last.unlink()
        return f"{last.name}: missing shard"
    if how == "wrong shape":
        rewrite(lambda t: t.update({"model.norm.weight": np.ones(25, np.float32)}))
        return rf"{last.name}: tensor 'model.norm.weight' has shape \[25\], config.json asks for \[24\]"
    if how == "wrong type":
        rewrite(lambda t: t.update({"model.norm.weight": np.ones(24, np.int32)}))
        return f"{last.name}: tensor 'model.norm.weight' has type I32; supported: F32, F16, BF16"
    if how == "tensor not in its shard":
        rewrite(lambda t: t.pop("model.norm.weight"))
        return f"{last.name}: lacks tensor 'model.norm.weight'"
    if how == "missing tensor":
        del table["weight_map"]["model.norm.weight"]
    elif how == "unexpected tensor":
        rewrite(lambda t: t.update({"model.extra": np.ones(1, np.float32)}))
        table["weight_map"]["model.extra"] = last.name
    elif how == "path outside":
        table["weight_map"]["model.norm.weight"] = "../" + last.name
    elif how == "no map":
        table = {"metadata": {}}
    index.write_text(json.dumps(table))
    return {
        "missing tensor": "index.json: missing tensor 'model.norm.weight'",
        "unexpected tensor": f"{last.name}: unexpected tensor 'model.extra'",
        "path outside": "index.json: tensor 'model.norm.weight' is mapped to '../",
        "no map": "index.json: 'weight_map' must be",
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "truncated", "empty file", "no header", "lying offsets", "missing shard", "wrong shape", "wrong type",
        "tensor not in its shard", "missing tensor", "unexpected tensor", "path outside", "no map",
    ],
)  # fmt: skip
def test_damage_is_named_and_the_weights_stay(tiny_policy, tmp_path, how):
    policy, other = tiny_policy("qwen2", seed=1), tiny_policy("qwen2", seed=2)
    policy.save(tmp_path / "model", max_shard_size=20_000)
    message = damaged(tmp_path / "model", how)
    before = weights_of(other)
    with pytest.raises(CheckpointError, match=message) as caught:
        other.load_weights_from(tmp_path / "model")
    assert str(tmp_path) in str(caught.value)
    assert same(weights_of(other), before)
    with pytest.raises(CheckpointError, match=message):
        Policy.from_pretrained(tmp_path / "model")


def test_folders_without_weights_or_tokenizer(tiny_policy, tmp_path):
    policy = tiny_policy()
    policy.save(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.rename(tmp_path / "aside")
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match="has neither model.safetensors.*pytorch_model.bin is a pickle"):
        load_model(tmp_path / "model")
    (tmp_path / "aside").rename(weights)
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="no tokenizer.json"):
        Policy.from_pretrained(tmp_path / "model")


def test_copies_that_no_model_needs_are_skipped(tiny_policy, tmp_path):
    policy = tiny_policy("llama")
    policy.save(tmp_path / "model")
    tensors = weights_of(policy)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(3, np.float32)
    safetensors.numpy.save_file(tensors, tmp_path / "model" / "model.safetensors")
    assert same(weights_of(Policy.from_pretrained(tmp_path / "model")), weights_of(policy))


def test_saving_over_a_model_replaces_it_and_keeps_other_files(tiny_policy, tmp_path):
    old, new = tiny_policy(seed=1), tiny_policy(seed=2)
    target = tmp_path / "model"
    old.save(target, max_shard_size=20_000)
    (target / "README.md").write_text("mine")
    (target / "checkpoint-3").mkdir()
    (target / "checkpoint-3" / "state.json").write_text("{}")
    log = open(target / "metrics.jsonl", "a")
    new.save(target)
    log.write("row\n")
    log.close()
    assert same(weights_of(Policy.from_pretrained(target)), weights_of(new))
    assert not list(target.glob("model-*")) and not (target / "model.safetensors.index.json").exists()
    assert (target / "README.md").read_text() == "mine"
    assert (target / "checkpoint-3" / "state.json").read_text() == "{}"
    assert (target / "metrics.jsonl").read_text() == "row\n"
    assert leftovers(tmp_path) == []


def test_a_full_disk_leaves_the_old_model(tiny_policy, tmp_path, monkeypatch):
    old, new = tiny_policy(seed=1), tiny_policy(seed=2)
    target = tmp_path / "model"
    old.save(target)
    before = {p.name: p.read_bytes() for p in target.iterdir()}
    calls = []

    def full(fd):
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        new.save(target)
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before
    assert leftovers(tmp_path) == []
    calls.clear()
    with pytest.raises(OSError, match="No space left"):
        new.save(tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists() and leftovers(tmp_path) == []


def test_what_a_killed_save_left_behind_is_removed(tiny_policy, tmp_path):
    """A process is killed while it writes; the next save of that folder clears up after it."""
    policy = tiny_policy()
    policy.save(tmp_path / "model")
    before = {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()}
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from ptagrpo.checkpoint.swap import replace_folder\n"
        "def fill(folder):\n    (folder / 'half').write_text('x')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "replace_folder(Path(sys.argv[1]), fill, is_own=lambda name: True)\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path / "model")], timeout=60)
    assert run.returncode == -signal.SIGKILL
    assert {p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()} == before
    assert len(leftovers(tmp_path)) == 1
    alive = tmp_path / f".model.{os.getppid()}.0a.tmp"
    alive.mkdir()
    policy.save(tmp_path / "model")
    assert leftovers(tmp_path) == [alive.name]


@pytest.mark.parametrize("second_rename_fails", [False, True])
def test_without_an_atomic_exchange_folders_are_moved_aside(tmp_path, monkeypatch, second_rename_fails):
    class NoExchange:
        def __init__(self, *args, **kwargs):
            pass

        def __getattr__(self, name):
            raise AttributeError(name)

    monkeypatch.setattr(swap.ctypes, "CDLL", NoExchange)
    target = tmp_path / "folder"
    target.mkdir()
    (target / "a").write_text("old")
    real, renames = os.rename, []

    def rename(source, destination):
        renames.append(source)
        if second_rename_fails and len(renames) == 2:
            raise OSError(5, "I/O error")
        real(source, destination)

    monkeypatch.setattr(swap.os, "rename", rename)

    def fill(folder):
        (folder / "a").write_text("new")

    if second_rename_fails:
        with pytest.raises(OSError, match="I/O error"):
            swap.replace_folder(target, fill, is_own=lambda name: True)
        assert (target / "a").read_text() == "old"
    else:
        swap.replace_folder(target, fill, is_own=lambda name: True)
        assert (target / "a").read_text() == "new"
    assert leftovers(tmp_path) == []


def test_bad_settings_of_save(tiny_policy, tmp_path):
    policy = tiny_policy()
    with pytest.raises(ConfigError, match="dtype: expected one of float32, bfloat16, got 'fp8'"):
        policy.save(tmp_path / "model", dtype="fp8")
    for size in (0, -1, "5 parsecs", "", True, 1.5):
        with pytest.raises(ConfigError, match="size"):
            policy.save(tmp_path / "model", max_shard_size=size)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="is a file"):
        policy.save(tmp_path / "file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
    assert [parse_size(s) for s in (7, "7", "2KB", "1.5MiB", "1 gb")] == [7, 7, 2000, 1572864, 10**9]


def test_unknown_config_keys_are_kept(tiny_policy, tmp_path):
    policy = tiny_policy("qwen2", my_key=[1, 2])
    policy.generation_config = {"temperature": 0.6, "eos_token_id": [262]}
    policy.save(tmp_path / "model")
    again = Policy.from_pretrained(tmp_path / "model")
    again.save(tmp_path / "second")
    written = json.loads((tmp_path / "second" / "config.json").read_text())
    assert written["my_key"] == [1, 2]
    assert again.generation_config == {"temperature": 0.6, "eos_token_id": [262]}
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        first, second = (json.loads((tmp_path / f / name).read_text()) for f in ("model", "second"))
        assert first == second


def test_hub_ids_go_through_huggingface_hub(tiny_policy, tmp_path, monkeypatch):
    import huggingface_hub

    policy = tiny_policy()
    policy.save(tmp_path / "snapshot")
    seen = {}

    def snapshot_download(repo_id, **options):
        seen.update(options, repo_id=repo_id)
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    again = Policy.from_pretrained("org/name", revision="v1", token="t", cache_dir=tmp_path / "c")
    assert same(weights_of(again), weights_of(policy))
    assert (seen["repo_id"], seen["revision"], seen["token"]) == ("org/name", "v1", "t")
    assert seen["cache_dir"] == tmp_path / "c" and seen["local_files_only"] is False
    assert "*.safetensors" in seen["allow_patterns"] and not any(".bin" in p for p in seen["allow_patterns"])


def test_hub_cache_without_network(tiny_policy, tmp_path):
    """A real cache in huggingface_hub's layout; what it lacks is an error, not a download."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    policy = tiny_policy("qwen3")
    policy.save(repository / "snapshots" / commit)
    again = Policy.from_pretrained("org/name", local_files_only=True, cache_dir=tmp_path / "cache")
    assert same(weights_of(again), weights_of(policy))
    with pytest.raises(CheckpointError, match="org/other: .*the local cache does not deliver it"):
        Policy.from_pretrained("org/other", local_files_only=True, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("name", ["no/such/folder", "./missing", "/nowhere/model", "a b", "org/..", ""])
def test_names_that_are_neither_folder_nor_hub_id(name):
    with pytest.raises(CheckpointError, match=re.escape(name) + ": no such folder, and it is not a hub id"):
        Policy.from_pretrained(name)


def test_save_model_without_tokenizer(tiny_policy, tmp_path):
    policy = tiny_policy()
    save_model(tmp_path / "model", policy.model, policy.config)
    names = sorted(p.name for p in (tmp_path / "model").iterdir())
    assert names == ["config.json", "generation_config.json", "model.safetensors"]
    model, config = load_model(tmp_path / "model")
    assert same(dict(model.parameters()), weights_of(policy))
    shutil.rmtree(tmp_path / "model")


@pytest.mark.parametrize("case", ["llama_tied_llama3", "llama_untied", "qwen2_untied", "qwen3_tied"])
def test_what_transformers_saves_is_read_with_the_same_logits(byte_tokenizer, tmp_path, case):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    import model_oracle

    tokenizer = byte_tokenizer()
    config = {**model_oracle.case_config(case), "vocab_size": tokenizer.vocab_size}
    shapes = ModelConfig.from_dict(config).parameter_shapes()
    theirs = model_oracle.build(config, model_oracle.random_weights(shapes, seed=3))
    theirs.float().save_pretrained(tmp_path / "model", max_shard_size="20KB")
    tokenizer.save(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors.index.json").exists()
    ours = Policy.from_pretrained(tmp_path / "model")
    assert ours.config.tie_word_embeddings == config["tie_word_embeddings"]
    tokens = np.random.default_rng(0).integers(0, tokenizer.vocab_size, 30)
    with torch.no_grad():
        logprobs = torch.log_softmax(model_oracle.logits(theirs.double(), tokens), -1).numpy()
    expected = logprobs[np.arange(29), tokens[1:]]
    np.testing.assert_allclose(ours.logprobs([tokens])[0], expected, rtol=0, atol=2e-5)

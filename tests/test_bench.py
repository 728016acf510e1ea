"""The benchmark's harness on tiny models; what the peers measure is not tested here."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
if not (ROOT / "bench" / "__main__.py").exists():
    pytest.skip("bench/ is in the source tree only", allow_module_level=True)
sys.path.append(str(ROOT))  # behind the installed packages: the ptagrpo under test stays the one it is

from bench import __main__ as bench  # noqa: E402
from bench import flops, results  # noqa: E402
from bench.compare import Contestant, UnequalWork, check_equal, interleave  # noqa: E402
from bench.models import PAPER, TOWER, config_of, make_folder, random_tokens  # noqa: E402
from bench.results import Result  # noqa: E402
from bench.rows import large  # noqa: E402
from bench.worker import SideAbsent, SideError, Worker  # noqa: E402
from ptagrpo.models import ModelConfig  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder("tiny", tmp_path_factory.mktemp("tiny"))


def test_operations_by_hand():
    config = config_of("tiny")  # hidden 32, ffn 48, 2 layers, 4 heads and 2 kv heads of 8, vocabulary 320
    layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48
    assert flops.layer_weights(config) == 2 * layer
    assert flops.head_weights(config) == 320 * 32
    forward = 2 * 2 * layer * 5 + 2 * 320 * 32 * 3 + 2 * 4 * 32 * 15
    assert flops.forward(config, tokens=5, targets=3, pairs=15) == forward
    assert flops.train(config, tokens=5, targets=3, pairs=15) == 3 * forward
    assert flops.causal_pairs([4, 2]) == 10 + 3
    assert flops.forest_pairs([2, 1, 2, 3], [-1, 0, 1, 0]) == 3 + (2 + 1) + (2 * 3 + 3) + (3 * 2 + 6)
    assert flops.forest_pairs([3, 4], [-1, 0]) == flops.causal_pairs([7])


def contestants(folder, modules):
    tokens = random_tokens("tiny", 24, seed=1).reshape(2, 12).tolist()
    return [
        Contestant(name, module, {"folder": str(folder), "precision": "float32"}, ("steps", {"count": 2}),
                   [("batch", {"tokens": tokens}), ("loss", {})]) for name, module in modules.items()
    ]  # fmt: skip


@pytest.mark.parametrize("together", [True, False])
def test_sides_take_turns_and_agree(folder, together):
    found = interleave(contestants(folder, {"a": "ours_train", "b": "ours_train"}), 2, together, times=2)
    for runs in found.values():
        assert len(runs.timed) == 4 and runs.seconds > 0
        assert runs.prepared[1] == pytest.approx(5.77, abs=0.1)  # log 320
    assert found["a"].prepared == found["b"].prepared
    assert found["a"].timed[-1]["loss"] == found["b"].timed[-1]["loss"] < found["a"].prepared[1]


def test_a_missing_library_skips_the_peer_with_its_name(folder, monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = interleave(contestants(folder, {"ours": "ours_train", "peer": "torch_train"}), 1)
    assert found["ours"].timed and not found["peer"].timed
    assert found["peer"].absent == "torch_train: torch is not installed"
    with pytest.raises(SideAbsent, match="torch is not installed"):
        Worker("torch_train", {"folder": str(folder), "precision": "float32"})


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_torch_computes_the_same_losses(folder):
    found = interleave(contestants(folder, {"ours": "ours_train", "peer": "torch_train"}), 1)
    assert not found["peer"].absent
    check_equal("loss", found["ours"].prepared[1], found["peer"].prepared[1], 1e-5)
    check_equal("loss after steps", found["ours"].timed[0]["loss"], found["peer"].timed[0]["loss"], 1e-5)


def test_unequal_work_is_an_error():
    check_equal("loss", 1.0, 1.05, 0.1)
    with pytest.raises(UnequalWork, match="loss: ours 1, peer 2"):
        check_equal("loss", 1.0, 2.0, 0.1)
    with pytest.raises(UnequalWork):
        check_equal("loss", float("nan"), 2.0, 0.1)


def test_a_side_that_fails_says_where(folder):
    with (
        Worker("ours_train", {"folder": str(folder)}) as worker,
        pytest.raises(SideError, match="no_such_method"),
    ):
        worker.call("no_such_method")
    with pytest.raises(SideError, match="no such folder"):
        Worker("ours_train", {"folder": str(folder / "absent")})


@pytest.mark.parametrize("value, goal, at_most, holds", [
    (2.0, 1.5, False, True), (1.0, 1.5, False, False), (0.3, 0.35, True, True), (0.4, 0.35, True, False),
    (None, 1.5, False, False), (None, None, False, True),
])  # fmt: skip
def test_holds(value, goal, at_most, holds):
    assert Result("made-up", 1, "made up", value, goal, at_most=at_most).holds is holds


@pytest.mark.parametrize("value, status", [(2.0, 0), (1.0, 1), (None, 1)])
def test_exit_status_and_file(tmp_path, capsys, value, status):
    rows = {
        "made-up": lambda context: [
            Result("made-up", 3, "made up", value, 1.5, "GFLOP/s", 4.0, 2.0, "peer", 9.0)
        ]
    }
    assert bench.run(["made-up"], rows, bench.Context(tmp_path), tmp_path) == status
    data = json.loads((tmp_path / "row-made-up.json").read_text())
    assert {"cpu", "threads", "python", "date", "version"} <= data["machine"].keys() and data[
        "quick"
    ] is False
    assert data["results"] == [
        {"row": "made-up", "figure": 3, "what": "made up", "value": value, "goal": 1.5, "unit": "GFLOP/s", "ours": 4.0,
         "peer": 2.0, "peer_name": "peer", "peak": 9.0, "at_most": False, "note": "", "commit": "",
         "holds": status == 0}
    ]  # fmt: skip
    assert "made up" in capsys.readouterr().out


def test_a_row_that_fails_does_not_hold(tmp_path, capsys):
    def row(context):
        raise SideError("torch_train: step() failed\nout of luck")

    assert bench.run(["broken"], {"broken": row}, bench.Context(tmp_path), tmp_path) == 1
    assert "out of luck" in json.loads((tmp_path / "row-broken.json").read_text())["results"][0]["note"]


def test_list_names_every_row(capsys):
    assert bench.main(["--list"]) == 0
    listed = capsys.readouterr().out.split()
    assert {"train-fp32", "train-bf16", "decode-12", "threads", "forest-120-80-200"} <= set(listed)
    with pytest.raises(SystemExit):
        bench.main(["no-such-row"])
    assert "no-such-row" in capsys.readouterr().err


def test_docs_and_chart_come_from_the_files(tmp_path):
    result = Result("made-up", 3, "made up", 2.0, 1.5, "GFLOP/s", 4.0, 2.0, "peer")
    about = {"cpu": "a CPU", "threads": 2, "date": "2026-01-01", "commit": "new", "rounds": 5}
    earlier = Result("made-up", 3, "stored before", 2.0, None, commit="old")
    results.write_json(tmp_path / "row-made-up.json", [result, earlier], about, quick=False)
    results.write_json(tmp_path / "quick-made-up.json", [result], about, quick=True)
    docs = tmp_path / "performance.md"
    docs.write_text(f"before\n{results.BEGIN}\nstale\n{results.END}\nafter\n")
    results.write_docs(docs, tmp_path, rows=["made-up", "unheard-of"])
    text = docs.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "stale" not in text
    assert text.count("| 3 | made up | 4 GFLOP/s | 2 (peer) | – | 2 | ≥ 1.5 | yes |") == 1
    assert "| new | 5 |" in text and "| old | 5 |" in text  # a result's own commit goes before the file's
    assert "Rows without a stored measurement: unheard-of." in text and "2026-01-01 (made-up)." in text
    results.draw_chart(tmp_path / "chart.png", tmp_path)
    assert (tmp_path / "chart.png").stat().st_size > 1000


def test_a_markers_pair_is_in_the_docs():
    assert results.BEGIN in results.DOCS.read_text() and results.END in results.DOCS.read_text()


def test_products_and_attention_alone():
    with Worker("ours_kernels", {"gemm": "openblas"}) as worker:
        sizes = [(4, 6, 8), (5, 16, 3)]
        for kind in ("forward", "dinput", "dweight"):
            found = worker.call("products", kind=kind, dtype="float32", sizes=sizes, repeats=[1, 2])
            assert len(found["seconds"]) == 2 and min(found["seconds"]) > 0
        assert worker.call("versions")["kernels"]["float32"] == "openblas"
    with Worker("ours_kernels", {}) as worker:
        for direction, dtype in (("forward", "float32"), ("backward", "bfloat16")):
            options = {"direction": direction, "dtype": dtype, "heads": (4, 2, 8)}
            found = worker.call("attention", **options, lengths=[70, 300])["seconds"]
            assert 0 < found[0] < found[1]
        with pytest.raises(SideError, match="direction: expected forward or backward"):
            worker.call("attention", **{**options, "direction": "sideways"}, lengths=[8])
        with pytest.raises(SideError, match="a multiple of K"):
            worker.call("attention", **{**options, "heads": (3, 2, 8)}, lengths=[8])


@pytest.mark.parametrize("side", ["ours_grpo", "trl_grpo"])
def test_a_step_of_reinforcement_samples_every_token(folder, side):
    sizes = {"folder": str(folder), "prompt": 20, "length": 6, "responses": 6}
    try:
        with Worker(side, sizes) as worker:
            for _ in range(2):
                run = worker.call("step")
                assert run["tokens"] == 36 and run["seconds"] > 0
    except SideAbsent as error:
        pytest.skip(str(error))


def test_long_rows_run_only_when_asked_for():
    assert {"quickstart", "ptagrpo", "five_models"} <= bench.registry().keys()
    assert not {"quickstart", "ptagrpo", "five_models"} & bench.registry(full=False).keys()
    assert {"bits", "grpo", "products-fp32", "attention-bf16"} <= bench.registry(full=False).keys()


# The paper's models at full size: their shapes, and the row on cut ones.


def test_shapes_of_the_papers_models(shared_data):
    real = json.loads((shared_data / "checkpoints" / "llama3.2" / "config.json").read_text())
    ours = ModelConfig.from_dict(PAPER["Llama-3.2-3B"])
    assert ours == ModelConfig.from_dict(real).replace(
        extra=ours.extra, bos_token_id=None, eos_token_id=128255
    )
    table = (shared_data / "README.md").read_text().split("## Configurations")[1]
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    rows = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}
    for name, shape in PAPER.items():
        hidden, ffn, layers, heads, head, vocab, tied, _, extra = rows[name]
        c = ModelConfig.from_dict(shape)
        assert (c.hidden_size, c.intermediate_size, c.num_hidden_layers) == (
            int(hidden),
            int(ffn),
            int(layers),
        )
        assert f"{c.num_attention_heads}/{c.num_key_value_heads}" == heads and c.head_dim == int(head)
        assert c.vocab_size == int(vocab) and c.tie_word_embeddings == (tied == "yes")
        if c.vision is None:
            assert c.family.qk_norm == ("q/k norm" in extra) and c.family.attention_bias == (
                "v bias" in extra
            )
            continue
        v = c.vision  # "depth 32, hidden 1280, ffn 3420, ..., full attention at blocks 7, 15, 23, 31"
        sizes = (v.depth, v.hidden_size, v.intermediate_size, v.num_heads, v.patch_size, v.temporal_patch_size,
                 v.spatial_merge_size, v.window_size, *v.fullatt_block_indexes)  # fmt: skip
        assert [int(number) for number in re.findall(r"\d+", extra)] == list(sizes)
        assert v.out_hidden_size == c.hidden_size and shape["rope_scaling"]["mrope_section"] == [16, 24, 24]


def test_the_least_time_of_a_rollout_by_hand(monkeypatch):
    config = config_of("tiny")
    layers, head = large.weight_bytes(config, "int8")
    assert layers == flops.layer_weights(config) * 66 / 64 and head == 2 * 320 * 32
    read = large.rollout_seconds(config, "int8", {"bandwidth": 1e-9, "bfloat16": 1e9})
    # the prompt, 7 + 1 batches of plans, 15 of chains go through the layers; 8 + 16 draws through the head
    assert read == pytest.approx(24 * layers + 24 * head)
    compute = large.rollout_seconds(config, "int8", {"bandwidth": 1e9, "bfloat16": 1e-9})
    pairs = 32 * 33 // 2 + 4 * sum(range(33, 41)) + 12 * sum(range(41, 56))
    assert compute == pytest.approx(
        flops.forward(config, 32 + 4 * 8 + 12 * 15, 4 * 7 + 1 + 4 + 12 * 15, pairs)
    )
    assert large.update_work() == (256, 224, 32 * 33 // 2 + 4 * sum(range(33, 41)) + 12 * sum(range(41, 57)))
    work = flops.adapt(config, 256, 224, 0), flops.train(config, 256, 224, 0)
    assert (
        work[0] * 3 == work[1] * 2
        and flops.adapt(config, 1, 0, 9) - flops.adapt(config, 1, 0, 0) == 3 * 4 * 32 * 2 * 9
    )


def test_a_step_of_each_of_the_papers_models(tmp_path, monkeypatch):
    cut = {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
           "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 2048, "eos_token_id": 2047}  # fmt: skip
    tower = {"depth": 2, "out_hidden_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_heads": 4,
             "fullatt_block_indexes": [1]}  # fmt: skip
    papers = {name: {**PAPER[name], **cut} for name in ("Llama-3.2-3B", "Qwen2.5-VL-7B", "Qwen3-14B")}
    papers["Qwen2.5-VL-7B"] |= {"image_token_id": 2046, "vision_config": {**TOWER, **tower},
                                "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}  # fmt: skip
    pytest.importorskip("PIL", reason="Pillow is not installed")
    monkeypatch.setattr(large, "PAPER", papers)
    context = bench.Context(tmp_path, rounds=2)
    found = large.five_models(context, "five_models")
    assert len(found) == 9 and all(result.holds for result in found)
    assert [result.unit for result in found[:3]] == ["GiB", "tokens/s", "tokens/s"]
    assert 0.05 < found[0].value < 1.0 and found[0].goal == 24 and found[0].peer > 0
    monkeypatch.setattr(large, "measure", None)  # what is stored is not measured again
    assert large.five_models(context, "five_models") == found
    monkeypatch.undo()
    monkeypatch.setattr(large, "machine_memory", lambda: (1 << 30, 1 << 20))
    short = large.measure(context, "five_models", "Qwen3-14B")
    assert not short[0].holds and "not enough memory" in short[0].note

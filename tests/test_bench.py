"""The benchmark's harness on tiny models; what the peers measure is not tested here."""

from __future__ import annotations

import importlib.util
import json
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
from bench.models import config_of, make_folder, random_tokens  # noqa: E402
from bench.results import Result  # noqa: E402
from bench.worker import SideAbsent, SideError, Worker  # noqa: E402


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
         "peer": 2.0, "peer_name": "peer", "peak": 9.0, "at_most": False, "note": "", "holds": status == 0}
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
    about = {"cpu": "a CPU", "threads": 2, "date": "2026-01-01"}
    results.write_json(tmp_path / "row-made-up.json", [result], about, quick=False)
    results.write_json(tmp_path / "quick-made-up.json", [result], about, quick=True)
    docs = tmp_path / "performance.md"
    docs.write_text(f"before\n{results.BEGIN}\nstale\n{results.END}\nafter\n")
    results.write_docs(docs, tmp_path, rows=["made-up", "unheard-of"])
    text = docs.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "stale" not in text
    assert text.count("| 3 | made up | 4 GFLOP/s | 2 (peer) | – | 2 | ≥ 1.5 | yes |") == 1
    assert "Rows without a stored measurement: unheard-of." in text
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
    assert {"quickstart", "ptagrpo"} <= bench.registry().keys()
    assert not {"quickstart", "ptagrpo"} & bench.registry(full=False).keys()
    assert {"bits", "grpo", "products-fp32", "attention-bf16"} <= bench.registry(full=False).keys()

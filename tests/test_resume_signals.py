"""Ctrl-C and SIGTERM in processes of their own, as a terminal or a scheduler sends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import training_toys
from patience import patience

from ptagrpo.training.run_store import verify

HERE = Path(__file__).resolve().parent
PROGRAM = """
import sys, time
sys.path.insert(0, {here!r})
import training_toys
from ptagrpo.training import PTAGRPOConfig, PTAGRPOTrainer
class Tell:
    def on_step_end(self, args, state, control, **kwargs):
        print(state.global_step, flush=True)
base = training_toys.policy(hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16)
args = PTAGRPOConfig(output_dir={folder!r}, max_steps=100000, save_steps=100000, max_completion_length=200,
                     per_device_train_batch_size={batch}, prompt_style="raw", answer_kind="exact",
                     disable_tqdm=True)
def reward(completions, **kwargs):
    return [float(len(c) % 7) for c in completions]
trainer = PTAGRPOTrainer(base, [reward], args, training_toys.QUESTIONS, callbacks=[Tell])
try:
    trainer.train("auto")
finally:
    print("out", time.monotonic(), flush=True)
"""


def start(folder, batch):
    program = PROGRAM.format(here=str(HERE), folder=str(folder), batch=batch)
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("pause", [0.0, 0.11, 0.37])
def test_a_signal_ends_the_run_within_half_a_second_and_loses_nothing(tmp_path, number, pause):
    """A step takes about as long as the longest pause, so they fall into sampling, forward and backward."""
    process = start(tmp_path, batch=240)
    try:
        steps = [int(process.stdout.readline()) for _ in range(2)]
        assert steps == [1, 2]
        time.sleep(pause)
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        seconds = float(out.split()[-1]) - began  # one clock for both processes
    finally:
        process.kill()
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in err and process.returncode != 0
    else:
        assert process.returncode == 143, err
    last = max([2, *map(int, out.split()[:-2])])
    assert [p.name for p in tmp_path.glob("checkpoint-*")] == [f"checkpoint-{last}"]
    verify(tmp_path / f"checkpoint-{last}")
    state = json.loads((tmp_path / f"checkpoint-{last}" / "trainer_state.json").read_text())
    assert state["global_step"] == last
    assert seconds < patience(0.5), f"took {seconds:.2f} s"


def test_a_second_interrupt_while_saving_leaves_no_part_of_a_checkpoint(tmp_path):
    """Saving is not interrupted: the signal is raised when the checkpoint is whole."""

    class Twice:
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                os.kill(os.getpid(), signal.SIGINT)

        def on_save(self, args, state, control, **kwargs):
            os.kill(os.getpid(), signal.SIGINT)

    trainer = training_toys.trainer("sft", tmp_path, training_toys.policy(), [Twice])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert [p.name for p in tmp_path.glob("*checkpoint-*")] == ["checkpoint-3"]
    verify(tmp_path / "checkpoint-3")

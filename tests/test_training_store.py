"""Checkpoint folders: whole or not there, whatever happens between."""

from __future__ import annotations

import errno
import os
import resource
import signal

import pytest

from ptagrpo.errors import CheckpointError, ConfigError
from ptagrpo.training.data_order import RowStream, epoch_order
from ptagrpo.training.interrupts import SignalGuard, Terminated
from ptagrpo.training.metrics import Window
from ptagrpo.training.run_store import RunStore, verify


def writer(text="weights"):
    def write(folder):
        (folder / "model").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "state").write_bytes(b"\0" * 5000)

    return write


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def names(root):
    return sorted(entry.name for entry in root.iterdir() if entry.name != ".lock")


def test_saved_found_verified_rotated(tmp_path):
    with RunStore(tmp_path) as store:
        assert store.latest() is None
        for step in (2, 10, 30):
            verify(store.save(step, writer()))
            store.rotate(step, 2)
        assert store.steps() == [10, 30]
        assert store.latest() == tmp_path / "checkpoint-30"
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-30"]


@pytest.mark.parametrize("how", ["flip", "cut", "remove", "manifest", "no manifest"])
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path, how):
    with RunStore(tmp_path) as store:
        store.save(1, writer())
        newest = store.save(2, writer())
        if how == "flip":
            damage(newest / "inner" / "state")
        elif how == "cut":
            os.truncate(newest / "inner" / "state", 4999)
        elif how == "remove":
            (newest / "model").unlink()
        elif how == "manifest":
            (newest / "manifest.json").write_text("{")
        else:
            (newest / "manifest.json").unlink()
        with pytest.warns(RuntimeWarning, match="checkpoint-2.*going back"):
            assert store.latest() == tmp_path / "checkpoint-1"
        with pytest.warns(RuntimeWarning, match="older checkpoints are kept"):
            store.rotate(2, 1)
        assert store.steps() == [1, 2]
        store.save(2, writer("again"))
        assert store.latest() == newest


def test_what_a_killed_process_leaves_is_finished_or_removed(tmp_path):
    with RunStore(tmp_path) as store:
        done = store.save(5, writer())
        half = store.save(6, writer())
        trash = store.save(3, writer())
    os.rename(done, tmp_path / ".tmp-checkpoint-5")  # complete, killed before the rename
    (half / "model").unlink()
    os.rename(half, tmp_path / ".tmp-checkpoint-6")  # killed while writing
    os.rename(trash, tmp_path / ".trash-checkpoint-3")  # killed while deleting
    with RunStore(tmp_path) as store:
        assert names(tmp_path) == ["checkpoint-5"]
        assert store.latest() == tmp_path / "checkpoint-5"


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    for name in (".tmp-mine", "checkpoint-last", "checkpoint-7.bak"):
        (tmp_path / name).mkdir()
    with RunStore(tmp_path) as store:
        assert store.steps() == []
        store.save(1, writer())
        store.rotate(1, 1)
        store.clear()
    assert names(tmp_path) == [".tmp-mine", "checkpoint-7.bak", "checkpoint-last"]


def test_two_trainers_cannot_share_a_folder(tmp_path):
    with RunStore(tmp_path):
        with pytest.raises(ConfigError, match="another process"):
            RunStore(tmp_path).__enter__()
    with RunStore(tmp_path):
        pass


def test_a_failing_write_leaves_the_earlier_checkpoint(tmp_path):
    def full(folder):
        (folder / "model").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunStore(tmp_path) as store:
        store.save(1, writer())
        with pytest.raises(CheckpointError, match="No space left.*MiB are free.*checkpoint-1 is intact"):
            store.save(2, full)
        assert names(tmp_path) == ["checkpoint-1"]
        verify(store.path(1))


def test_a_write_that_the_system_refuses(tmp_path):
    """RLIMIT_FSIZE makes the kernel itself fail the write in the middle of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RunStore(tmp_path) as store:
        store.save(1, writer())
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            with pytest.raises(CheckpointError, match="checkpoint-2: could not be written"):
                store.save(2, writer())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert names(tmp_path) == ["checkpoint-1"]
        verify(store.path(1))


def test_signals_wait_for_the_end_of_a_shield():
    with SignalGuard() as guard:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    before = signal.getsignal(signal.SIGTERM)
    with SignalGuard() as guard:
        done = False
        with pytest.raises(Terminated) as caught:
            with guard.shield():
                with guard.shield():
                    os.kill(os.getpid(), signal.SIGTERM)
                done = True
        assert done and caught.value.code == 143
        with pytest.raises(Terminated):  # swallowed once, it comes again
            guard.check()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_epoch_has_every_row_once(shuffle):
    stream = RowStream(7, seed=3, shuffle=shuffle)
    rows = stream.take(0, 21)
    for epoch in range(3):
        assert sorted(rows[7 * epoch : 7 * epoch + 7]) == list(range(7))
        assert rows[7 * epoch : 7 * epoch + 7] == epoch_order(7, 3, epoch, shuffle).tolist()
    assert RowStream(7, seed=3, shuffle=shuffle).take(5, 9) == rows[5:14]
    assert (rows[:7] != rows[7:14]) == shuffle


def test_the_order_of_rows_is_fixed_for_all_time():
    """A change here would change what a resumed run sees."""
    assert epoch_order(8, 42, 0, True).tolist() == ORDER


ORDER = [7, 2, 6, 0, 3, 1, 5, 4]


def test_a_window_of_metrics_goes_on_bit_for_bit():
    first, second = Window(), Window()
    first.add({"loss": 0.1, "reward": float("nan")})
    second.restore(first.state())
    for window in (first, second):
        window.add({"loss": 0.2, "kl": 3.0})
    assert first.pop() == second.pop() == {"loss": (0.1 + 0.2) / 2, "kl": 3.0}
    assert first.pop() == {}

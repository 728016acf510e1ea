"""The folders of a run's checkpoints: each is there in full, verified by checksums, or not there at all.

    output_dir/
      checkpoint-{step}/         complete: all files, fsynced, then manifest.json, then renamed to this name
      .tmp-checkpoint-{step}     being written; what a killed run left is removed or, if complete, renamed
      .trash-checkpoint-{step}   renamed before being deleted: half a deletion is never taken for a checkpoint
      .lock                      held (flock) while a trainer works here

Knows nothing of what is in a checkpoint. Every state the folder can be in after a kill at any instant is a
state that `RunStore` opens without help.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError, ConfigError
from ..io import atomic_write_json, fsync_directory, sha256_file

try:
    import fcntl
except ImportError:  # not a POSIX system: no protection from a second trainer in the same folder
    fcntl = None

MANIFEST = "manifest.json"
_NAME = re.compile(r"checkpoint-(\d+)")
_LEFTOVER = re.compile(r"\.(?P<kind>tmp|trash)-checkpoint-(?P<step>\d+)(-\d+)?")


class RunStore:
    """The checkpoints under one output folder. A context manager: inside it, the folder is locked and clean.

    Raises:
        ConfigError: another live process trains into the folder.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        self._lock: int | None = None

    def __enter__(self) -> RunStore:
        self.root.mkdir(parents=True, exist_ok=True)
        self._acquire()
        self._remove_leftovers()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def steps(self) -> list[int]:
        """Steps of the checkpoint folders, ascending, verified or not."""
        if not self.root.is_dir():
            return []
        found = (_NAME.fullmatch(entry.name) for entry in self.root.iterdir() if entry.is_dir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """Folder of the checkpoint of `step`."""
        return self.root / f"checkpoint-{step}"

    def latest(self) -> Path | None:
        """The newest checkpoint whose checksums hold; damaged newer ones are passed over with a warning."""
        for step in reversed(self.steps()):
            try:
                verify(self.path(step))
            except CheckpointError as error:
                warnings.warn(f"{error}; going back to an earlier checkpoint", RuntimeWarning, stacklevel=2)
                continue
            return self.path(step)
        return None

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Create the checkpoint of `step` from the files that `write(folder)` writes. Durable when it
        returns.

        A folder of the same name (left by an earlier attempt) is replaced.

        Raises:
            CheckpointError: it could not be written (disk full, ...); earlier checkpoints are as they were.
        """
        final = self.path(step)
        temporary = self.root / f".tmp-checkpoint-{step}"
        try:
            if temporary.exists():
                shutil.rmtree(temporary)
            temporary.mkdir()
            write(temporary)
            _seal(temporary, step)
            if final.exists():
                self._to_trash(final)
            os.rename(temporary, final)
            fsync_directory(self.root)
        except Exception as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise self._write_error(final, error) from error
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return final

    def rotate(self, newest: int, limit: int | None, best: int | None = None) -> None:
        """Delete the oldest checkpoints up to step `newest` until at most `limit` of them are left, and `best`.

        Nothing is deleted unless the checksums of checkpoint `newest` hold.
        """
        if limit is None:
            return
        others = [step for step in self.steps() if step <= newest and step != best]
        surplus = others[: max(0, len(others) - limit + (best == newest))]
        if not surplus:
            return
        try:
            verify(self.path(newest))
        except CheckpointError as error:
            warnings.warn(f"{error}; the older checkpoints are kept", RuntimeWarning, stacklevel=2)
            return
        for step in surplus:
            self._to_trash(self.path(step))

    def clear(self) -> None:
        """Delete all checkpoints."""
        for step in reversed(self.steps()):
            self._to_trash(self.path(step))

    def _to_trash(self, path: Path) -> None:
        trash = self.root / f".trash-{path.name}"
        number = 0
        while trash.exists():
            number += 1
            trash = self.root / f".trash-{path.name}-{number}"
        os.rename(path, trash)
        fsync_directory(self.root)
        shutil.rmtree(trash, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Finish what a killed process left: complete checkpoints get their name, everything else goes."""
        for entry in sorted(self.root.iterdir()):
            match = _LEFTOVER.fullmatch(entry.name)
            if not match:
                continue
            final = self.path(int(match["step"]))
            if match["kind"] == "tmp" and not final.exists() and _holds(entry):
                os.rename(entry, final)
                fsync_directory(self.root)
            else:
                shutil.rmtree(entry, ignore_errors=True)

    def _acquire(self) -> None:
        if fcntl is None:
            return
        lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError(
                    f"output_dir {str(self.root)!r}: another process is training into this folder; wait "
                    "for it to end "
                    "or choose another output_dir"
                ) from error
            return  # a file system without locks
        self._lock = lock

    def _write_error(self, path: Path, error: Exception) -> CheckpointError:
        kept = self.steps()
        last = f"checkpoint-{kept[-1]} is intact" if kept else "there was none before"
        advice = ""
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            with contextlib.suppress(OSError):
                advice = f" ({shutil.disk_usage(self.root).free >> 20} MiB are free: make room and resume)"
        return CheckpointError(f"{path}: could not be written: {error}{advice}; {last}")


def verify(path: str | os.PathLike) -> dict:
    """Check every file of a checkpoint against its manifest and return the manifest.

    Raises:
        CheckpointError: no such folder, no or broken manifest, or a file that is missing or differs; names
            it.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such checkpoint folder")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = {
            str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in manifest["files"].items()
        }
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: has no {MANIFEST}, so it is no complete checkpoint of ptagrpo"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path / MANIFEST}: broken: {error}") from error
    for name, (size, digest) in files.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{file}: missing from the checkpoint")
        if file.stat().st_size != size:
            raise CheckpointError(f"{file}: has {file.stat().st_size} bytes, expected {size}")
        if sha256_file(file) != digest:
            raise CheckpointError(f"{file}: its checksum differs from the one it was written with")
    return manifest


def _holds(path: Path) -> bool:
    try:
        verify(path)
    except CheckpointError:
        return False
    return True


def _seal(folder: Path, step: int) -> None:
    """Fsync everything in the folder and write the manifest over it."""
    files = {}
    folders = [folder]
    for file in sorted(folder.rglob("*")):
        if file.is_dir():
            folders.append(file)
            continue
        _fsync_file(file)
        files[file.relative_to(folder).as_posix()] = {
            "size": file.stat().st_size,
            "sha256": sha256_file(file),
        }
    atomic_write_json(folder / MANIFEST, {"format": 1, "step": step, "files": files})
    for each in reversed(folders):
        fsync_directory(each)


def _fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

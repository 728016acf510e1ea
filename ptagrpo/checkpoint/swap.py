"""Replace a folder in one step.

Linux can exchange two folders atomically (`renameat2` with RENAME_EXCHANGE); where that is missing the old
folder is moved aside first, and a crash just then leaves it under its temporary name `.NAME.*.old`.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError
from ..io import fsync_directory

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


def replace_folder(path: Path, fill: Callable[[Path], None], *, is_own: Callable[[str], bool]) -> None:
    """Put a folder made by `fill` at `path`; whoever looks sees the old folder or the new one.

    Args:
        path: the folder to make or to replace. Missing parents are made.
        fill: writes the new files into the (existing, empty) folder it gets.
        is_own: whether a top-level file name of the old folder belongs to what is replaced; all else is
            carried over.

    Raises:
        CheckpointError: `path` is a file.
        OSError: from `fill` or the file system; `path` is then as it was, and the temporary folder is gone.
    """
    path = Path(os.path.abspath(path.expanduser()))
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_dir():
        raise CheckpointError(f"{path}: is a file; cannot write a model folder there")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    new = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    new.mkdir()
    try:
        fill(new)
        if path.exists():
            _carry_over(path, new, is_own)
        fsync_directory(new)
        if path.exists() and any(path.iterdir()):
            _exchange(new, path)  # now `new` names the old folder
        else:
            os.rename(new, path)  # onto nothing, or onto an empty folder
        fsync_directory(path.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _remove_stale(path: Path) -> None:
    """Delete temporary folders that a killed process left while it wrote `path`."""
    for entry in path.parent.glob(f".{glob.escape(path.name)}.*.*.tmp"):
        owner = entry.name[len(path.name) + 2 :].split(".")[0]
        if owner.isdigit() and not _is_running(int(owner)):
            shutil.rmtree(entry, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _carry_over(old: Path, new: Path, is_own: Callable[[str], bool]) -> None:
    """Give `new` everything of `old` that is not replaced, by hard links where possible."""
    for entry in old.iterdir():
        target = new / entry.name
        if is_own(entry.name) or target.exists():
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry), target)
        elif entry.is_dir():
            shutil.copytree(entry, target, symlinks=True, copy_function=_link_or_copy)
        else:
            _link_or_copy(entry, target)


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _exchange(new: Path, old: Path) -> None:
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        renameat2 = None
    if renameat2 is not None:
        names = (os.fsencode(new), os.fsencode(old))
        if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
        if (code := ctypes.get_errno()) not in _UNSUPPORTED:
            raise OSError(code, os.strerror(code), str(old))
    aside = Path(f"{new}.old")
    os.rename(old, aside)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(aside, old)
        raise
    os.rename(aside, new)

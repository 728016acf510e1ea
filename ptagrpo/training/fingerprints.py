"""What a run is made of, in a form that a resumed run can compare: refuse what would silently change the
result.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from .. import _core
from ..errors import ResumeError
from ..policy import Policy


def rows_fingerprint(rows: Iterable[Any]) -> str:
    """Hex SHA-256 of data rows (mappings or dataclasses) in order; values that JSON does not know by
    their repr.
    """
    digest = hashlib.sha256()
    for row in rows:
        value = asdict(row) if is_dataclass(row) else dict(row)
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=_plain)
        digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def weights_fingerprint(policy: Policy) -> str:
    """Hex SHA-256 of all weights, without those of an adapter."""
    digest = hashlib.sha256()
    for name, weight in sorted(policy.model.parameters().items()):
        digest.update(name.encode() + b"\0")
        digest.update(memoryview(np.ascontiguousarray(weight)).cast("B"))
    for frozen in policy.model.frozen_bytes():
        digest.update(memoryview(frozen))
    return digest.hexdigest()


def environment() -> dict[str, Any]:
    """What besides the settings can move the last bits of a result: the build and the kernels of this CPU."""
    info = _core.build_info()
    return {name: info.get(name) for name in ("version", "simd", "kernels")}


def check_resume(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, may_change: Iterable[str] = (), where: str
) -> None:
    """Compare the identity of a checkpoint with that of the run that wants to go on from it.

    Args:
        saved, current: {"settings": {...}, "data": hash, "tokenizer": hash, "model": {...}, ...,
            "environment": {...}}.
        may_change: settings that may differ after all.
        where: the checkpoint, for the message.

    Raises:
        ResumeError: lists every key that changed, with old and new value. A changed environment only warns.
    """
    changes = []
    for key in sorted({*saved, *current} - {"environment"}):
        old, new = saved.get(key), current.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changes += [
                f"{key}.{name}: {old.get(name)!r} -> {new.get(name)!r}"
                for name in sorted({*old, *new})
                if old.get(name) != new.get(name) and name not in may_change
            ]
        elif old != new:
            changes.append(f"{key}: {_short(old)} -> {_short(new)}")
    if changes:
        listed = "".join(f"\n  {change}" for change in changes)
        raise ResumeError(
            f"{where}: cannot go on from here, because the run is another one now:{listed}\n"
            "Undo the changes, or start a new run in another output_dir from the checkpoint's model"
        )
    if saved.get("environment") != current.get("environment"):
        warnings.warn(
            f"{where}: was written with {saved.get('environment')}, this is {current.get('environment')}: "
            "the run goes "
            "on, but not bit for bit as it would have there",
            RuntimeWarning,
            stacklevel=2,
        )


def _short(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {
            "shape": value.shape,
            "sha256": hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest(),
        }
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    return repr(value)

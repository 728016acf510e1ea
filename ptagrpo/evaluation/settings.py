"""What must not change between the start of an evaluation and its resumption, and the files that hold it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ResumeError
from ..io import atomic_write_json, read_jsonl_tolerant, sha256_json
from ..records import Question

SAMPLES, SETTINGS, SUMMARY = "samples.jsonl", "settings.json", "summary.json"


def questions_fingerprint(questions: list[Question]) -> str:
    """Hex hash of ids, prompts, reference answers and images (of files: name and size), in their order."""
    described = []
    for question in questions:
        images = [[_image_fingerprint(image) for image in question.images]] if question.images else []
        described.append([question.id, question.prompt, question.answer, *images])
    return sha256_json(described)


def _image_fingerprint(image: str | bytes) -> str:
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    path = Path(image)
    return f"{path.name} {path.stat().st_size if path.is_file() else 'missing'}"


def policy_fingerprint(policy: Any) -> str:
    """Hex hash of all weights (and their names and shapes), or "unknown" for a policy without weights."""
    if not hasattr(policy, "named_weights"):
        return "unknown"
    digest = hashlib.blake2b(digest_size=16)
    for name, array in sorted(policy.named_weights().items()):
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    for frozen in policy.model.frozen_bytes():
        digest.update(memoryview(frozen))
    return digest.hexdigest()


def open_output(
    folder: Path, settings: dict[str, Any], questions: list[Question], k: int
) -> list[dict[str, Any]]:
    """Prepare an output folder; return the rows that an interrupted run of the same settings left there.

    Raises:
        ResumeError: it holds an evaluation of other settings (each is named, with both values), or rows that
            do not follow the order of questions and samples.
    """
    import json

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS
    if path.exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, UnicodeDecodeError) as error:
            raise ResumeError(f"{path}: not readable as JSON ({error}); give another output_dir") from error
        changed = sorted(name for name in {*stored, *settings} if stored.get(name) != settings.get(name))
        if changed:
            listed = "; ".join(
                f"{name}: {stored.get(name)!r} there, {settings.get(name)!r} now" for name in changed
            )
            raise ResumeError(
                f"{folder} holds an evaluation with other settings ({listed}). Use the same settings to "
                "resume it, or "
                "another output_dir."
            )
    elif (folder / SAMPLES).exists():
        raise ResumeError(
            f"{folder} has {SAMPLES} but no {SETTINGS}: not an evaluation to resume; give another output_dir"
        )
    else:
        atomic_write_json(path, settings)
    rows = read_jsonl_tolerant(folder / SAMPLES)
    expected = ((question.id, sample) for question in questions for sample in range(k))
    for number, row in enumerate(rows, start=1):
        wanted = next(expected, None)
        if (row.get("id"), row.get("sample")) != wanted:
            raise ResumeError(
                f"{folder / SAMPLES}:{number}: found question {row.get('id')!r}, sample "
                f"{row.get('sample')!r}, expected "
                f"{'no further row' if wanted is None else f'question {wanted[0]!r}, sample {wanted[1]}'}"
            )
    return rows

"""The real rows with images that the shared data have of each multimodal benchmark, in the hub's schema, with paths
that can be opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def rows_with_images(data: Path) -> list[tuple[str, list[dict[str, Any]], int]]:
    """(benchmark, rows, how many of them are questions of it). Of MMMU itself there are none: MMMU-Pro's first setting
    has MMMU's questions, with further options."""
    folder = data / "multimodal"

    def rows(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]

    tools = rows("mmmu_pro/tool_data.jsonl")
    for row in tools:
        row.update({name: str(folder / "mmmu_pro" / row[name]) for name in row if name.startswith("image_")})
    pages = [
        {
            "image": str(folder / f"mmmu_pro/vision_pages/page_{n}.png"),
            "options": row["options"],
            "answer": row["answer"],
        }
        for n, row in enumerate(tools, start=1)
    ]
    by_id = {row["id"]: row for row in rows("mmk12/test_sample.jsonl")}
    school = [
        {**by_id[file.name.split("_")[0]], "image": str(file)} for file in (folder / "mmk12/images").iterdir()
    ]
    emma = [row for row in rows("mathvision/emma_math_sample.jsonl") if row["question"].count("<image") == 1]
    for row in emma:
        row["image"] = str(folder / "mathvision" / row["image"])
    return [
        ("mmmu", tools, 21), ("mmmu_pro", tools, 21), ("mmmu_pro", pages, 21), ("mmk12_physics", school, 3),
        ("mmk12_chemistry", school, 3), ("mmk12_biology", school, 3), ("emma", emma, 15),
    ]  # fmt: skip

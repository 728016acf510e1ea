"""Real multimodal rows, and a small random Qwen2.5-VL with the real tokenizer, template and preprocessor settings."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import vision_helpers
from multimodal_rows import rows_with_images

import ptagrpo
from ptagrpo import benchmarks
from ptagrpo.benchmarks import Benchmark
from ptagrpo.records import Question
from ptagrpo.tokenizer import Tokenizer
from ptagrpo.vision import ImageProcessor


def folder_of(data: Path) -> Path:
    """The files of a tokenizer and a processor; the vocabulary is Qwen2.5's, which Qwen2.5-VL shares."""
    folder = Path(tempfile.mkdtemp())
    of_vl = ("tokenizer_config.json", "preprocessor_config.json", "chat_template.json")
    for source, names in (("qwen2.5", ("vocab.json", "merges.txt")), ("qwen2.5-vl", of_vl)):
        for name in names:
            (folder / name).write_bytes((data / "checkpoints" / source / name).read_bytes())
    return folder


def real_policy(data: Path, folder: Path | None = None) -> ptagrpo.Policy:
    """Small and random, but with the real tower's patches."""
    folder = folder or folder_of(data)
    tokenizer = Tokenizer.from_folder(folder)
    vision = {**vision_helpers.CONFIG["vision_config"], "patch_size": 14, "window_size": 112}
    config = {**vision_helpers.CONFIG, "vocab_size": 151936, "vision_config": vision, "image_token_id": 151655,
              "eos_token_id": 151645, "max_position_embeddings": 32768, "initializer_range": 0.05}  # fmt: skip
    policy = ptagrpo.Policy.from_config(config, tokenizer)
    policy.image_processor = ImageProcessor.from_folder(folder)
    return policy


def real_parts(data: Path, transformers):
    """Our policy, and transformers' processor (its Pillow image processor) on the same files."""
    folder = folder_of(data)
    own = transformers.Qwen2TokenizerFast.from_pretrained(folder)
    images = transformers.Qwen2VLImageProcessorPil.from_pretrained(folder)
    # Its constructor wants a processor of videos, which needs torchvision; nothing here has videos.
    with mock.patch.object(transformers.Qwen2_5_VLProcessor, "check_argument_for_proper_class"):
        processor = transformers.Qwen2_5_VLProcessor(images, own, video_processor=images)
    return real_policy(data, folder), processor


def questions_of(data: Path, scratch: Path, count: int) -> Iterator[tuple[str, Benchmark, list[Question]]]:
    """The first rows of each benchmark, as questions."""
    for name, rows, _ in rows_with_images(data):
        file = scratch / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        benchmark = benchmarks.load(name, file, partial=True)
        yield name, benchmark, benchmark.questions[:count]

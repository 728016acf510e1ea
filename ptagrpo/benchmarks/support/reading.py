"""From rows to checked questions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError
from ...images import canonical_placeholders, check_placeholders, image_order
from ...records import Question
from ..base import Benchmark, BenchmarkSpec, Parsed, Row
from .sources import file_rows, hub_rows, image_sources, locate


def read_benchmark(
    spec: BenchmarkSpec, path: str | os.PathLike | None = None, *, partial: bool = False
) -> Benchmark:
    """Read and check the rows of a benchmark. Images are not opened here.

    Args:
        path: see `sources.locate`.
        partial: accept another number of rows (a sample), and rows without an id (their number is it).

    Raises:
        DataError: a malformed row (file and line), a repeated id, a wrong number of rows, no such file.
        ConfigError: the hub is needed and `datasets` is not installed.
    """
    files = locate(spec, path)
    where = str(files[0].path if len(files) == 1 else files[0].path.parent) if files else spec.hub_id
    questions: list[Question] = []
    notes: list[str] = []
    places: dict[str, tuple[str, int]] = {}
    for file, folder, number, row in _rows(spec, path):
        if not _wanted(spec, row):
            continue
        try:
            question = to_question(spec, row, number, folder=folder, partial=partial)
        except ValueError as error:
            raise DataError(f"benchmark '{spec.name}': {error}", file=file, line=number) from error
        if question.id in places:
            earlier, line = places[question.id]
            raise DataError(
                f"benchmark '{spec.name}': id {question.id!r} was already in line {line}"
                f"{'' if earlier == file else f' of {earlier}'}",
                file=file, line=number,
            )  # fmt: skip
        places[question.id] = (file, number)
        questions.append(question)
        if spec.image_columns and len(order := image_order(str(question.prompt))) != len(set(order)):
            notes.append(
                f"{file}:{number}: question {question.id!r} mentions an image more than once; it is given at each place"
            )
    if spec.rows is not None and len(questions) != spec.rows and not partial:
        raise DataError(
            f"benchmark '{spec.name}' has {spec.rows} questions, this has {len(questions)}: it is "
            "incomplete or another set",
            file=where,
        )
    if not questions:
        raise DataError(f"benchmark '{spec.name}': no questions", file=where)
    return Benchmark(
        spec.name, questions, spec.title, spec.group_columns, where, spec=spec, notes=tuple(notes)
    )


def _rows(spec: BenchmarkSpec, path: str | os.PathLike | None) -> Iterator[tuple[str, Path | None, int, Row]]:
    """(file or hub id, folder of its images, number, row)."""
    files = locate(spec, path)
    for source in files:
        for number, row in file_rows(source):
            yield str(source.path), source.path.parent, number, row
    if not files:
        for number, row in hub_rows(spec):
            yield spec.hub_id, None, number, row


def _wanted(spec: BenchmarkSpec, row: Row) -> bool:
    return all(str(row.get(name)).casefold() == value.casefold() for name, value in spec.where.items())


def to_question(
    spec: BenchmarkSpec,
    row: Row,
    number: int,
    *,
    folder: Path | None = None,
    partial: bool = False,
    with_images: bool = True,
) -> Question:
    """The question of a row.

    Args:
        folder: where relative paths of images start.
        with_images: False leaves them out, and the placeholders unchecked: grading needs no image.

    Raises:
        ValueError: what was expected of the row.
    """
    parsed = _by_columns(spec, row) if spec.parse is None else spec.parse(row)
    identity = parsed.id
    if identity is None:
        identity = next((str(row[name]) for name in spec.id_columns if row.get(name) is not None), None)
    if identity is None:
        if spec.rows is not None and not partial:
            raise ValueError(f"expected an id in {' or '.join(spec.id_columns)}, the row has {sorted(row)}")
        identity = str(number)
    images: list[str | bytes] = []
    prompt = parsed.prompt
    if spec.image_columns:
        prompt = canonical_placeholders(prompt)
        if with_images:
            images = image_sources(row, spec.image_columns, folder)
            if not images:
                raise ValueError(
                    f"expected an image in {', '.join(spec.image_columns)}, the row has {sorted(row)}"
                )
            check_placeholders(prompt, len(images), repeats=spec.repeats)
    columns = {
        name: value
        for name, value in row.items()
        if name not in spec.image_columns and not (name in spec.prompt_columns and value == parsed.prompt)
    }
    return Question(identity, prompt, parsed.answer, {**columns, **parsed.extra}, images)


def _by_columns(spec: BenchmarkSpec, row: Row) -> Parsed:
    prompt_column = next((name for name in spec.prompt_columns if row.get(name)), None)
    if prompt_column is None:
        raise ValueError(
            f"expected a question in {' or '.join(spec.prompt_columns)}, the row has {sorted(row)}"
        )
    prompt = row[prompt_column]
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"expected text in '{prompt_column}', got {prompt!r:.80}")
    answer_column = next((name for name in spec.answer_columns if row.get(name) is not None), None)
    if answer_column is None:
        raise ValueError(
            f"expected an answer in '{' or '.join(spec.answer_columns)}', the row has {sorted(row)}"
        )
    return Parsed(prompt, spec.answer(row[answer_column]))

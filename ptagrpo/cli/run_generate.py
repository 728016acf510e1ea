"""`ptagrpo generate`."""

from __future__ import annotations

from pathlib import Path

import typer

from ..errors import ConfigError


def run(
    *,
    model: str,
    prompt: list[str] | None,
    prompts: str | None,
    output: Path | None,
    prompt_style: str,
    n: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
    min_p: float,
    stop: list[str] | None,
    seed: int,
    limit: int | None,
) -> None:
    """Sample responses to every prompt; print them, or write rows {id, prompt, responses, finish_reasons}."""
    from ..data import load_questions
    from ..io import write_jsonl
    from ..policy import Policy
    from ..records import Question
    from ..template import build_prompt

    if bool(prompt) == (prompts is not None):
        raise ConfigError("give either --prompt TEXT or --prompts FILE")
    if prompts is not None:
        questions = load_questions(prompts, limit=limit)
    else:
        questions = [Question(str(index), text) for index, text in enumerate(prompt or [])]
    policy = Policy.from_pretrained(model)
    if prompt_style == "raw":
        texts = [question.prompt for question in questions]
    else:
        texts = [
            build_prompt(question.prompt, policy.tokenizer, style=prompt_style) for question in questions
        ]
    completions = policy.generate(
        texts,
        n=n,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        stop=stop or (),
        seed=seed,
        progress=output is not None,
    )
    if output is not None:
        rows = [
            {
                "id": question.id,
                "question": question.prompt,
                **({} if question.answer is None else {"answer": question.answer}),
                "responses": [c.text for c in several],
                "finish_reasons": [c.finish_reason for c in several],
            }
            for question, several in zip(questions, completions, strict=True)
        ]
        write_jsonl(output, rows)
        typer.echo(f"{len(rows)} prompts, {n} responses each: {output}")
        return
    for question, several in zip(questions, completions, strict=True):
        for number, completion in enumerate(several, start=1):
            if len(questions) > 1 or n > 1:
                typer.echo(f"--- prompt {question.id}, response {number} ({completion.finish_reason})")
            typer.echo(completion.text)

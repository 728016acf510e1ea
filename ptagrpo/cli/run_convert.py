"""`ptagrpo convert`."""

from __future__ import annotations

from pathlib import Path

import typer

from ..errors import CheckpointError, ConfigError


def run(source: str, target: Path, *, tokenizer: Path | None, dtype: str, max_shard_size: str) -> None:
    """Convert a llama2.c file, rewrite a model folder, or merge an adapter into its base."""
    path = Path(source)
    if path.is_dir() and target.exists() and path.resolve() == target.resolve():
        raise ConfigError(f"{target}: source and target are the same folder; name another target")
    if path.suffix == ".bin" and not path.is_dir():
        if tokenizer is None:
            raise ConfigError(f"{source}: a llama2.c model needs its tokenizer too: --tokenizer tok512.bin")
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        from ..checkpoint import save_model
        from ..llama2c import read_model, read_tokenizer

        model, config = read_model(path)
        words = read_tokenizer(tokenizer, config.vocab_size)
        save_model(target, model, config, words, dtype=dtype, max_shard_size=max_shard_size)
        count = model.num_parameters
    else:
        if tokenizer is not None:
            raise ConfigError("--tokenizer belongs to llama2.c files; a model folder has its own")
        from ..policy import Policy

        policy = Policy.from_pretrained(source)
        if policy.lora_config is not None:
            policy.merge_adapter()
        policy.save(target, dtype=dtype, max_shard_size=max_shard_size)
        count = policy.num_parameters
    typer.echo(f"{count:,} parameters as {dtype}: {target}")

"""llama.cpp through llama-cpp-python's low-level API: one prompt, many chains that share its keys and values.

The prompt is decoded once as sequence 0 and copied to the other sequences (cells are shared, not duplicated); every
chain then samples at temperature 1 with llama.cpp's own sampler and all chains go through one batch a step.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import time
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from bench.gguf_file import write_gguf


class Side:
    """A model and a context for `chains` sequences. KV cache in float16, as llama.cpp has it by default."""

    def __init__(self, folder: str, chains: int, context: int, flash_attention: int = -1, threads: int = 0):
        path = Path(folder) / "model.gguf"
        if not path.exists():
            write_gguf(Path(folder), path)
        self._quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError(f"llama.cpp does not load {path.name}")
        self._vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._threads = threads or len(os.sched_getaffinity(0))
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = chains
        params.kv_unified = True
        params.flash_attn_type = flash_attention
        params.n_threads = params.n_threads_batch = self._threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError("llama.cpp makes no context")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(max(512, chains), 0, 1)
        self._sampler = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        llama_cpp.llama_sampler_chain_add(self._sampler, llama_cpp.llama_sampler_init_dist(0))

    def logprobs(self, prompt: list[int]) -> list[float]:
        """Log-probabilities of the first 64 ids after the prompt."""
        self._prefill(prompt)
        logits = llama_cpp.llama_get_logits_ith(self._context, -1)
        values = np.ctypeslib.as_array(logits, (self._vocab,)).astype(np.float64)
        values -= values.max()
        return (values - np.log(np.exp(values).sum()))[:64].tolist()

    def prefill(self, prompt: list[int]) -> dict[str, float]:
        start = time.perf_counter()
        self._prefill(prompt)
        llama_cpp.llama_synchronize(self._context)
        return {"seconds": time.perf_counter() - start, "tokens": len(prompt)}

    def decode(self, prompt: list[int], chains: int, new_tokens: int) -> dict[str, float]:
        """Sample `new_tokens` in each chain; the prompt's prefill is not in `seconds`, its last logits are sampled."""
        self._prefill(prompt)
        for chain in range(1, chains):
            llama_cpp.llama_memory_seq_cp(self._memory, 0, chain, -1, -1)
        start = time.perf_counter()
        rows = [-1] * chains
        for position in range(len(prompt), len(prompt) + new_tokens):
            tokens = [llama_cpp.llama_sampler_sample(self._sampler, self._context, row) for row in rows]
            if position + 1 < len(prompt) + new_tokens:
                self._decode(tokens, [position] * chains, list(range(chains)), [True] * chains)
                rows = list(range(chains))
        return {"seconds": time.perf_counter() - start, "tokens": chains * new_tokens}

    def versions(self) -> dict[str, Any]:
        system = llama_cpp.llama_print_system_info().decode().strip()
        return {
            "llama_cpp_python": importlib.metadata.version("llama-cpp-python"),
            "system": system,
            "threads": self._threads,
        }

    def _prefill(self, prompt: list[int]) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)
        for start in range(0, len(prompt), 512):
            part = prompt[start : start + 512]
            positions = list(range(start, start + len(part)))
            wanted = [position == len(prompt) - 1 for position in positions]
            self._decode(part, positions, [0] * len(part), wanted)

    def _decode(
        self, tokens: list[int], positions: list[int], sequences: list[int], wanted: list[bool]
    ) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for row, (token, position, sequence, want) in enumerate(
            zip(tokens, positions, sequences, wanted, strict=True)
        ):
            batch.token[row] = token
            batch.pos[row] = position
            batch.n_seq_id[row] = 1
            batch.seq_id[row][0] = sequence
            batch.logits[row] = want
        status = llama_cpp.llama_decode(self._context, batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status}")

"""Write tests/fixtures/model_*.npz, what transformers and torch say about small random models in float64.

    python tests/make_fixtures.py        (needs torch and transformers)

The tests read these files, so that they need neither. Numbers are stored as float32 (rounded from float64).
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import model_oracle  # noqa: E402

from ptagrpo.models import ModelConfig  # noqa: E402

FIXTURES = Path(__file__).resolve().parent / "fixtures"


def main() -> None:
    FIXTURES.mkdir(exist_ok=True)
    for name in model_oracle.CASES:
        config = model_oracle.case_config(name)
        seed = zlib.crc32(name.encode()) % 1000
        weights = model_oracle.random_weights(ModelConfig.from_dict(config).parameter_shapes(), seed)
        sequences = model_oracle.random_tokens(config["vocab_size"], seed)
        truth = model_oracle.compute(config, weights, sequences)
        arrays = {"config": np.array(json.dumps(config)), "loss": np.float64(truth["loss"])}
        arrays |= {f"weight:{key}": value for key, value in weights.items()}
        arrays |= {f"gradient:{key}": value.astype(np.float32) for key, value in truth["gradients"].items()}
        arrays |= {f"tokens:{i}": sequence for i, sequence in enumerate(sequences)}
        arrays |= {f"logits:{i}": value.astype(np.float32) for i, value in enumerate(truth["logits"])}
        np.savez_compressed(FIXTURES / f"model_{name}.npz", **arrays)
        print(name, round(truth["loss"], 4), (FIXTURES / f"model_{name}.npz").stat().st_size, "bytes")


if __name__ == "__main__":
    main()

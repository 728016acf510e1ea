"""Write tests/fixtures/vision.npz: what transformers and torch give in float64 for the small Qwen2.5-VL of the tests.

PYTHONPATH=. python tests/make_vision_fixture.py
"""

import numpy as np
from test_vision_model import FIXTURE, ours, signs, yardstick

if __name__ == "__main__":
    weights = ours(True)["weights"]
    found = yardstick(True, weights)
    stored = {"logits": np.concatenate(found["logits"]).astype(np.float32), "loss": np.float64(found["loss"])}
    for name, gradient in found["gradients"].items():
        gradient = gradient.reshape(weights[name].shape)
        stored[f"sum {name}"] = np.float64((gradient * signs(name, gradient.shape)).sum())
        stored[f"size {name}"] = np.float64(np.abs(gradient).max())
    np.savez_compressed(FIXTURE, **stored)

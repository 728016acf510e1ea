"""Exercise the core's objects and failure paths, then end: LeakSanitizer reports what is left.

Run by .ci/run under libasan with detect_leaks=1; it looks for stacks that pass through our extension.
"""

import numpy as np

from ptagrpo import _core

config = dict(
    vocab_size=97,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    rms_norm_eps=1e-6,
    tie_word_embeddings=False,
    attention_bias=True,
    qk_norm=True,
    inv_freq=np.ones(2),
)


def refused(error, function, *arguments):
    try:
        function(*arguments)
    except error:
        return
    raise SystemExit(f"{function} did not raise {error}")


for _ in range(20):
    model = _core.Model(config)
    forest = _core.Forest(
        np.arange(64, dtype=np.int32), np.array([0, 40, 64], np.int32), np.array([-1, 0], np.int32)
    )
    rows = np.arange(63, dtype=np.int32)
    model.forward(forest, rows, rows + 1)
    model.backward(np.ones(63, np.float32))
    model.forward(forest, rows, rows + 1)
    optimizer = _core.AdamW(model, 0.9, 0.95, 1e-8)
    optimizer.step(1e-3, 0.1, 1.0)
    views = optimizer.moments(), model.parameters(), model.gradients(), model.config
    _core.group_advantages(np.ones(4), np.array([0, 4]))
    cache = _core.Cache(model)
    cache.prefill([np.arange(20, dtype=np.int32)], np.array([-1], np.int64))
    refused(TypeError, _core.Forest, np.zeros((4, 7)), None, None)
    refused(
        ValueError, _core.Forest, np.zeros(4, np.int32), np.array([0, 9], np.int32), np.array([-1], np.int32)
    )
    refused(ValueError, model.forward, forest, rows, rows + 99999)
    refused(ValueError, _core.AdamW, model, 2.0, 0.9, 1e-8)
    refused(ValueError, _core.Model, dict(config, hidden_size=-1))
    refused(ValueError, _core.group_advantages, np.ones(4), np.array([0, 5]))
print("leak round done")

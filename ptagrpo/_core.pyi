"""Types of the C extension (csrc/py). What functions do, raise and return in detail is in their docstrings:
`help(ptagrpo._core.Model)`. Shapes: T tokens, S segments, N targets, B chains, V words of the vocabulary.

tests/test_typing.py compares this file with the built module."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, final

import numpy as np
from numpy.typing import NDArray

Int32: TypeAlias = NDArray[np.int32]
Int64: TypeAlias = NDArray[np.int64]
UInt8: TypeAlias = NDArray[np.uint8]
UInt64: TypeAlias = NDArray[np.uint64]
Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Keep: TypeAlias = Literal["all", "inputs"]

class Chains(TypedDict):
    """Result of Cache.sample: B chains, and their tokens one chain behind the other."""

    handles: Int64
    lengths: Int32
    finish: UInt8
    tokens: Int32
    logprobs: Float32
    entropies: Float32
    sampling_logprobs: Float32

def build_info() -> dict[str, Any]: ...
def set_num_threads(n: int, /) -> None: ...
def get_num_threads() -> int: ...

@final
class Forest:
    """T tokens in S segments, each with a parent; depth first."""

    def __new__(
        cls,
        tokens: Int32,
        offsets: Int32,
        parent: Int32,
        positions: Int32 | None = None,
        input_rows: Int32 | None = None,
        inputs: Float32 | None = None,
    ) -> Forest: ...
    @property
    def tokens(self) -> Int32: ...
    @property
    def offsets(self) -> Int32: ...
    @property
    def parent(self) -> Int32: ...
    @property
    def positions(self) -> Int32: ...
    @property
    def rope_positions(self) -> Int32 | None: ...
    @property
    def input_rows(self) -> Int32: ...
    @property
    def num_tokens(self) -> int: ...
    @property
    def num_segments(self) -> int: ...

@final
class Model:
    """A decoder-only transformer: weights, gradients, adapter and the tape of the last forward pass."""

    def __new__(cls, config: dict[str, Any]) -> Model: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def num_parameters(self) -> int: ...
    @property
    def adapter(self) -> dict[str, Any] | None: ...
    @property
    def adapter_enabled(self) -> bool: ...
    @adapter_enabled.setter
    def adapter_enabled(self, value: bool) -> None: ...
    def parameters(self) -> dict[str, Float32]: ...
    def gradients(self) -> dict[str, Float32]: ...
    def zero_grad(self) -> None: ...
    def memory(self) -> dict[str, int]: ...
    def forward(
        self, forest: Forest, source: Int32, target: Int32, temperature: float = 1.0, keep: bool = True
    ) -> tuple[Float32, Float32]: ...
    def backward(self, dlogprobs: Float32, dentropies: Float32 | None = None) -> None: ...
    def logits(self, forest: Forest, rows: Int32) -> Float32: ...
    def add_adapter(self, rank: int, scale: float, targets: Sequence[str], dropout: float = 0.0) -> None: ...
    def remove_adapter(self) -> None: ...
    @property
    def tower_trained(self) -> bool: ...
    def train_tower(self, train: bool, /) -> None: ...
    def see(self, pixels: Float32, grids: Int32, keep: bool = False) -> Float32: ...
    def see_bytes(self, grids: Int32, keep: bool = False) -> int: ...
    def see_backward(self, drows: Float32, /) -> None: ...
    def input_gradients(self) -> Float32: ...
    def adapter_parameters(self) -> dict[str, Float32]: ...
    def frozen_parameters(self) -> dict[str, tuple[int, int]]: ...
    def frozen_bytes(self) -> list[UInt8]: ...
    def set_rows(self, name: str, first: int, rows: Float32) -> None: ...
    def get_rows(self, name: str, first: int, count: int) -> Float32: ...

@final
class StopTable:
    """Stop strings and the bytes of every token."""

    def __new__(
        cls, token_bytes: UInt8, token_offsets: Int64, stop_bytes: UInt8, stop_offsets: Int32
    ) -> StopTable: ...

@final
class Cache:
    """Keys and values of segments, and sampling from them."""

    def __new__(cls, model: Model) -> Cache: ...
    @property
    def model(self) -> Model: ...
    @property
    def bytes(self) -> int: ...
    @property
    def num_segments(self) -> int: ...
    def prefill(
        self,
        tokens: Sequence[Int32],
        parents: Int64,
        positions: Sequence[Int32 | None] | None = None,
        inputs: Sequence[tuple[Int32, Float32] | None] | None = None,
    ) -> Int64: ...
    def sample(
        self,
        parents: Int64,
        keys: UInt64,
        max_new_tokens: Int32,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        eos: Int32 | None = None,
        stops: StopTable | None = None,
        max_rows: int = 512,
        keep: bool = True,
    ) -> Chains: ...
    def free(self, handles: Int64) -> None: ...

@final
class AdamW:
    """AdamW over what a model trains."""

    def __new__(cls, model: Model, beta1: float, beta2: float, eps: float) -> AdamW: ...
    step_count: int
    def step(
        self, lr: float, weight_decay: float, max_grad_norm: float, zero_grad: bool = False
    ) -> float: ...
    def moments(self) -> dict[str, tuple[Float32, Float32]]: ...

def group_advantages(
    rewards: Float64,
    group_offsets: Int64,
    scale: Literal["group", "batch", "none"] = "group",
    ddof: int = 0,
    eps: float = 0.0,
) -> tuple[Float64, NDArray[np.bool_]]: ...
def policy_loss(
    logprobs: Float32,
    old: Float32,
    ref: Float32 | None,
    w_pos: Float32,
    w_neg: Float32,
    w_kl: Float32,
    epsilon_low: float,
    epsilon_high: float,
    beta: float,
    delta: float | None = None,
) -> tuple[float, Float32, dict[str, float]]: ...
def train_likelihood(
    model: Model,
    forest: Forest,
    source: Int32,
    target: Int32,
    weights: Float32,
    temperature: float = 1.0,
    keep: Keep = "all",
    dropout_key: int | None = None,
) -> tuple[float, Float32, Float32]: ...
def train_policy(
    model: Model,
    forest: Forest,
    source: Int32,
    target: Int32,
    old: Float32 | None,
    ref: Float32 | None,
    w_pos: Float32,
    w_neg: Float32,
    w_kl: Float32,
    epsilon_low: float,
    epsilon_high: float,
    beta: float,
    delta: float | None = None,
    temperature: float = 1.0,
    keep: Keep = "all",
    dropout_key: int | None = None,
) -> tuple[float, Float32, Float32, dict[str, float]]: ...
def train_bytes(model: Model, forest: Forest, num_targets: int, keep: str, /) -> int: ...
def plan_bytes(
    config: dict[str, Any],
    batch: Forest,
    keep: Keep,
    rollout: Forest,
    rows: int,
    rank: int = 0,
    targets: Sequence[str] = (),
    dropout: float = 0.0,
    grids: Int32 | None = None,
) -> dict[str, int]: ...
def dropout_mask(
    key: int, layer: int, projection: int, rows: int, columns: int, dropout: float, /
) -> Float32: ...

# For tests and benchmarks.
def kernels_variants() -> list[str]: ...
def kernels_use(variant: str | None, /) -> Mapping[str, str]: ...
def kernels_run(
    product: str,
    dtype: str,
    a: NDArray[Any],
    b: NDArray[Any],
    out: NDArray[Any],
    accumulate: bool,
    threads: int,
    /,
) -> None: ...
def kernels_benchmark(
    product: str, dtype: str, stored: str, M: int, N: int, K: int, repeats: int, threads: int, /
) -> float: ...
def attention_benchmark(
    direction: str, dtype: str, T: int, H: int, K: int, D: int, repeats: int, threads: int, /
) -> float: ...
def ops_attention(
    qkv: NDArray[Any], forest: Forest, dout: NDArray[Any], H: int, K: int, D: int, /
) -> tuple[NDArray[Any], ...]: ...
def ops_embedding(table: NDArray[Any], tokens: Int32, dy: NDArray[Any], /) -> tuple[NDArray[Any], ...]: ...
def ops_exp(x: Float32, /) -> Float32: ...
def ops_heads(
    qkv: NDArray[Any],
    bias: NDArray[Any] | None,
    q_norm: NDArray[Any] | None,
    k_norm: NDArray[Any] | None,
    rope: NDArray[Any],
    position: Int32,
    dqkv: NDArray[Any],
    H: int,
    K: int,
    D: int,
    eps: float,
    /,
) -> tuple[NDArray[Any] | None, ...]: ...
def ops_logprobs(
    logits: NDArray[Any], target: Int32, temperature: float, dlogprobs: Float32, dentropies: Float32, /
) -> tuple[NDArray[Any], ...]: ...
def ops_rmsnorm(
    x: NDArray[Any], w: NDArray[Any], dy: NDArray[Any], eps: float, /
) -> tuple[NDArray[Any], ...]: ...
def ops_swiglu(gate_up: NDArray[Any], dy: NDArray[Any], /) -> tuple[NDArray[Any], ...]: ...
def ops_uniform(key: int, counter: int, /) -> float: ...

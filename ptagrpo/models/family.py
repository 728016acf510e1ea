"""What a model family is, and how one is found: every module of this folder that defines `FAMILY`, and what comes from
outside of the package (docs/extending.md): entry points of the group `ptagrpo.families`, the files that the environment
variable PTAGRPO_FAMILIES names, and `register_family`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ConfigError, did_you_mean
from ..outside import load_point, point_name, points, run_file
from .vision import VisionConfig

GROUP, FILES = "ptagrpo.families", "PTAGRPO_FAMILIES"


@dataclass(frozen=True)
class FamilySpec:
    """How a family of decoders differs from the others.

    model_type: `model_type` of its config.json.
    architecture: the class name in `architectures` of its config.json.
    attention_bias: q, k and v projections have a bias.
    qk_norm: RMSNorm over each query and key head before the rotation.
    default_head_dim: head size where config.json has no `head_dim`; None means hidden_size /
        num_attention_heads.
    unsupported: variants that the core does not compute, as (config key, predicate on its value and the whole
        config, what to say).
    flatten: brings a config.json's dict into one layout before anything else reads it; raises ConfigError.
    vision: the tower of a (flattened) config.json; None: the family reads text only. See docs/vision.md.
    tensor_name: our name of a tensor, from its name in a file; None: the same.
    language_model: where transformers' module has the decoder, for the files of adapters; ours is `model.`.
    unrotated: layers without rotary embedding, from a config.json; None: there are none.
    """

    model_type: str
    architecture: str
    attention_bias: bool = False
    qk_norm: bool = False
    default_head_dim: int | None = None
    unsupported: tuple[tuple[str, Callable[[Any, Mapping[str, Any]], bool], str], ...] = ()
    flatten: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    vision: Callable[[Mapping[str, Any]], VisionConfig] | None = None
    tensor_name: Callable[[str], str] | None = None
    language_model: str = "model."
    unrotated: Callable[[Mapping[str, Any]], tuple[int, ...]] | None = None


def truthy(value: Any, config: Mapping[str, Any]) -> bool:
    """Predicate of `FamilySpec.unsupported`: the key is there and set."""
    return bool(value)


def sliding_window_in_use(value: Any, config: Mapping[str, Any]) -> bool:
    """Predicate: `use_sliding_window` is on and some layer lies at or above `max_window_layers`.

    Keys that are absent have the defaults of Qwen's configuration: a window of 4096 from layer 28 on.
    """
    layers = config.get("num_hidden_layers", 0)
    return (
        bool(value)
        and config.get("sliding_window", 4096) is not None
        and config.get("max_window_layers", 28) < layers
    )


_registered: dict[str, FamilySpec] = {}


@cache
def _own() -> dict[str, FamilySpec]:
    package = importlib.import_module(__package__)
    found = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda i: i.name):
        family = getattr(importlib.import_module(f"{__package__}.{info.name}"), "FAMILY", None)
        if isinstance(family, FamilySpec):
            found[family.model_type] = family
    return found


@cache
def _outside(files: str) -> dict[str, FamilySpec]:
    found: dict[str, FamilySpec] = {}
    for point in points(GROUP):
        _add(found, load_point(point), point_name(point))
    for name in filter(None, files.split(os.pathsep)):
        what = f"model family '{name}' of {FILES}"
        _add(found, run_file(name, what), what)
    return found


def _add(
    families: dict[str, FamilySpec], found: Any, what: str, others: Mapping[str, FamilySpec] | None = None
) -> None:
    """Take a family into `families`, unless one of these, of the package's or of `others` has its name."""
    family = getattr(found, "FAMILY", found)
    if not isinstance(family, FamilySpec):
        raise ConfigError(f"{what}: expected a FamilySpec, or a module with FAMILY, got {type(family).__name__}")
    for other in (*_own().values(), *families.values(), *(others or {}).values()):
        if family.model_type == other.model_type or family.architecture == other.architecture:
            raise ConfigError(
                f"{what}: {family.model_type!r} ({family.architecture}) exists already; families differ in both"
            )
    families[family.model_type] = family


def families() -> dict[str, FamilySpec]:
    """All families by `model_type`: those of this folder first, then those from outside.

    Raises:
        ConfigError: an entry point or a file from outside cannot be loaded, is no family, or one of a name that is
            taken; names it.
    """
    return {**_own(), **_outside(os.environ.get(FILES, "")), **_registered}


def register_family(family: FamilySpec | str | Path) -> FamilySpec:
    """Make a family known to this process: a `FamilySpec`, or the path of a Python file with a `FAMILY`.

    >>> register_family(FamilySpec(model_type="qwen3", architecture="Another"))  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ConfigError: register_family: 'qwen3' (Another) exists already; families differ in both

    Raises:
        ConfigError: the file cannot be run or has no `FAMILY`, or there is another family of that name.
    """
    what = f"model family '{family}'" if isinstance(family, (str, Path)) else "register_family"
    found = run_file(family, what) if isinstance(family, (str, Path)) else family
    family = getattr(found, "FAMILY", found)
    if family not in _registered.values():  # a cell of a notebook is run twice
        _add(_registered, family, what, families())
    return family


def find_family(config: Mapping[str, Any]) -> FamilySpec:
    """The family of a config.json, by its `architectures` and, where that key is absent, its `model_type`.

    Raises:
        ConfigError: neither key is there, they name different families, or the architecture is not known.
    """
    known = families()
    by_architecture = {family.architecture: family for family in known.values()}
    architectures, model_type = config.get("architectures"), config.get("model_type")
    listing = ", ".join(f"{family.architecture} ({name})" for name, family in known.items())
    if architectures:
        if not isinstance(architectures, (list, tuple)) or not isinstance(architectures[0], str):
            raise ConfigError(f"architectures: expected a list with a class name, got {architectures!r}")
        name = architectures[0]
        if name not in by_architecture:
            hint = did_you_mean(name, by_architecture)
            raise ConfigError(f"architecture {name!r} is not supported; known: {listing}.{hint}")
        family = by_architecture[name]
        if model_type is not None and model_type != family.model_type:
            raise ConfigError(
                f"config contradicts itself: architectures[0] is {name!r} (model_type {family.model_type!r}) "
                f"but model_type is {model_type!r}"
            )
        return family
    if model_type is None:
        raise ConfigError(f"config has neither 'architectures' nor 'model_type'; known: {listing}")
    if model_type not in known:
        hint = did_you_mean(str(model_type), known)
        raise ConfigError(f"model_type {model_type!r} is not supported; known: {listing}.{hint}")
    return known[model_type]

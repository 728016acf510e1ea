"""Model folders in Hugging Face's layout: read, write, and fetched from the hub. No pickle, anywhere."""

from .hub import resolve_folder
from .reading import load_generation_config, load_model, load_weights
from .writing import parse_size, save_model, write_model_files

__all__ = [
    "load_generation_config",
    "load_model",
    "load_weights",
    "parse_size",
    "resolve_folder",
    "save_model",
    "write_model_files",
]

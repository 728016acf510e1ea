"""Model families: one small file each, found by the `model_type` or architecture of a config.json.

To add a family, add a file with a `FAMILY = FamilySpec(...)`; nothing else needs to change. The same file works from
outside of the package (docs/extending.md).
"""

from .config import ModelConfig
from .family import FamilySpec, families, find_family, register_family
from .rope import inverse_frequencies

__all__ = ["FamilySpec", "ModelConfig", "families", "find_family", "inverse_frequencies", "register_family"]

"""MMK12's 500 test questions of chemistry, each with an image."""

from .support.mmk12 import spec

SPEC = spec("chemistry")

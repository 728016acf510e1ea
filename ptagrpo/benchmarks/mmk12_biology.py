"""MMK12's 500 test questions of biology, each with an image."""

from .support.mmk12 import spec

SPEC = spec("biology")

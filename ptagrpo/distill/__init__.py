"""Plan distillation: a teacher (an endpoint, or the model itself) turns worked solutions into plans.

See `docs/distill.md`.
"""

from __future__ import annotations

from .cache import Reply, ReplyCache, request_key
from .checks import check_plan, clean_plan
from .run import DistillReport, distill_plans, write_report
from .selfplan import SelfTeacher
from .teacher import EndpointTeacher
from .verify import mismatches

__all__ = [
    "DistillReport",
    "EndpointTeacher",
    "Reply",
    "ReplyCache",
    "SelfTeacher",
    "check_plan",
    "clean_plan",
    "distill_plans",
    "mismatches",
    "request_key",
    "write_report",
]

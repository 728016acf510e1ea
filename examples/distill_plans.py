"""Plans for the cold start: a teacher behind any OpenAI-compatible endpoint summarises solutions that you have.

    OPENAI_API_KEY=... python examples/distill_plans.py TRACES.jsonl RECORDS.jsonl MODEL_NAME BASE_URL

rows {"question", "think", "answer"}; finished replies are kept in RECORDS.cache.jsonl and never asked for again.
"""

import json
import sys
from pathlib import Path

from ptagrpo.data import read_traces
from ptagrpo.distill import EndpointTeacher, distill_plans

source, target, name, url = sys.argv[1:5]
traces, skipped = read_traces(source)
report = distill_plans(
    traces,
    EndpointTeacher(name, base_url=url, temperature=0.7, concurrency=8),
    skipped=skipped,
    cache=Path(target).with_suffix(".cache.jsonl"),
    on_progress=lambda done, total, tokens: print(f"\r{done} of {total}", end="", file=sys.stderr),
)
Path(target).write_text("".join(json.dumps(row) + "\n" for row in report.rows), encoding="utf-8")
print(f"{len(report.rows)} records, {len(report.dropped)} dropped")
for drop in report.dropped[:5]:
    print(f"  {drop['id']}: {drop['reason']}")

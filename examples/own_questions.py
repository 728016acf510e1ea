"""Stands in for your own data: questions in the quickstart model's language of 32 words, longer than those it has
learned. Writes, into the folder that is named,

    train.jsonl, test.jsonl    {"question", "answer"}: for reinforcement learning and evaluation
    records.jsonl              {"prompt", "completion"}: solutions with plans, for the cold start
    study.yaml                 a comparison of methods on them

    python examples/own_questions.py FOLDER
"""

import json
import random
import sys
from pathlib import Path

from ptagrpo.data import chains

LONG = (5, 6, 7)  # steps; the quickstart's questions have 2 to 5


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def completion(record: dict[str, str]) -> str:
    plan, think, answer = record["plan"], record["think"], record["answer"]
    return f"<plan> {plan} </plan> <think> {think} </think> <answer> {answer} </answer>"


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for name, seed, count in (("train", 1, 400), ("test", 2, 300)):
    questions = chains.questions(count, split=name, seed=seed, lengths=LONG)
    write(folder / f"{name}.jsonl", [{"question": q.prompt, "answer": q.answer} for q in questions])

rng = random.Random(0)  # every tenth sum in the solutions is wrong: a teacher that errs
problems = chains.problems(300, split="train", seed=5, lengths=LONG)
records = [chains.clean_record(problem, rng, slip=0.1) for problem in problems]
write(folder / "records.jsonl", [{"prompt": r["question"], "completion": completion(r)} for r in records])

(folder / "study.yaml").write_text(f"""# ptagrpo compare {folder}/study.yaml
task: data
output_dir: {folder}/study
seeds: 2
budget: rollouts
rollouts: 8
questions_per_rollout: 16
test_questions: 300
eval_samples: 1
data: {{model: {folder}/cold, train_dataset: {folder}/train.jsonl, eval_dataset: {folder}/test.jsonl}}
settings:
  prompt_style: raw
  answer_kind: exact
  use_peft: true
  lora_target_modules: [all-linear]
  max_plan_length: 24
  max_completion_length: 160
  learning_rate: 1e-3
""", encoding="utf-8")
print(f"{folder}: train.jsonl, test.jsonl, records.jsonl, study.yaml")

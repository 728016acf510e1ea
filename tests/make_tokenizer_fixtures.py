"""Write tests/fixtures/tokenizers.json: what transformers' Qwen tokenizers make of texts and chats.

PTAGRPO_DATA=... python tests/make_tokenizer_fixtures.py        (needs transformers and the real data)
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import transformers

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import test_tokenizer as cases  # noqa: E402


def main() -> None:
    data = Path(os.environ.get("PTAGRPO_DATA") or HERE.parent.parent / "shared" / "data")
    texts, result = cases.real_texts(data), {}
    for name in ("qwen2.5", "qwen3"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(shutil.copytree(data / "checkpoints" / name, Path(temporary) / name))
            for file in ("vocab.json", "merges.txt"):
                shutil.copyfile(data / "checkpoints" / "qwen2.5" / file, folder / file)
            theirs = transformers.AutoTokenizer.from_pretrained(folder)
            result[name] = cases.stored_expectations(
                name,
                lambda text, t=theirs: t.encode(text, add_special_tokens=False),
                lambda chat, t=theirs, **options: t.apply_chat_template(chat, tokenize=False, **options),
                texts,
            )
    target = HERE / "fixtures" / "tokenizers.json"
    target.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(target.stat().st_size, "bytes")


if __name__ == "__main__":
    main()

"""What the teacher is asked: summarise a worked solution into the plan that a solver could have begun with.

The paper gives the aim (sections 3.1, A.11: major phases, strategic choices, conditional branches, no
calculation); the words are ours.
"""

from __future__ import annotations

from typing import Any

_REQUEST = """\
Below are a problem and a worked solution. Write the plan that a skilled solver would have made before
starting.

The plan must
- name the major phases in order, the strategic choices and, where the solution could go either way, the
condition \
that decides;
- be compact: at most {max_words} words, as short steps;
- contain no calculation, no intermediate result and never the final answer;
- use no tags such as <plan>, <think> or <answer>.

Problem:
{question}

Worked solution:
{think}

Reply with the plan and nothing else."""

_AGAIN = (
    "That plan cannot be used: {reason}. Write it again, following every rule above. "
    "Reply with the plan and nothing else."
)


def plan_request(question: str, think: str, max_words: int) -> list[dict[str, Any]]:
    """Chat messages that ask for a plan of at most `max_words` words."""
    text = _REQUEST.format(question=question.strip(), think=think.strip(), max_words=max_words)
    return [{"role": "user", "content": text}]


def ask_again(messages: list[dict[str, Any]], refused: str, reason: str) -> list[dict[str, Any]]:
    """The same conversation, with the refused reply and why it was refused."""
    return [
        *messages,
        {"role": "assistant", "content": refused or "(no text)"},
        {"role": "user", "content": _AGAIN.format(reason=reason)},
    ]

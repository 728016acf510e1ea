"""Chat templates, rendered as Hugging Face renders them: jinja in an immutable sandbox.

Templates come with models from the network, so they are untrusted code: they see plain data only, cannot
change it, and cannot reach Python objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .errors import DataError

REASONING_KEYS = (
    "reasoning_content",
    "thinking",
    "reasoning",
)  # names under which APIs pass a message's reasoning


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = False,
    tools: Sequence[Mapping[str, Any]] | None = None,
    special_tokens: Mapping[str, str] | None = None,
    **variables: Any,
) -> str:
    """Render chat `messages` to the text that the model reads.

    Args:
        template: the jinja text of a chat_template.jinja.
        messages: dicts with `role` and `content`; keys whose value is None count as absent.
        add_generation_prompt: end with the opening of the assistant's turn.
        tools: JSON schemas of tools.
        special_tokens: `bos_token`, `eos_token` ... for the template's use; `variables` go before them.
        variables: further variables of the template (`enable_thinking` ...).

    Raises:
        DataError: no messages, a message that is not a dict, or the template refuses them or fails.

    >>> hello = [{"role": "user", "content": "hi"}]
    >>> render("{% for m in messages %}{{ m.role }}: {{ m.content }};{% endfor %}", hello)
    'user: hi;'
    """
    if not messages:
        raise DataError("chat template: needs at least one message, got none")
    plain = []
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or "role" not in message:
            raise DataError(f"message {index}: expected a dict with 'role' and 'content', got {message!r}")
        plain.append(_plain_message(message))
    data = {**(special_tokens or {}), **variables}
    try:
        return _compile(template).render(
            messages=plain, tools=tools, documents=None, add_generation_prompt=add_generation_prompt, **data
        )
    except (jinja2.TemplateError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise DataError(f"chat template failed on messages {_brief(plain)}: {error}") from error


def _plain_message(message: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in message.items() if value is not None}
    reasoning = next((kept[key] for key in REASONING_KEYS if key in kept), None)
    if reasoning is not None:
        kept = {"thinking": reasoning, **kept, "reasoning_content": reasoning}
    return kept


def _brief(messages: list[dict[str, Any]]) -> str:
    text = json.dumps(messages, ensure_ascii=False, default=str)
    return text if len(text) <= 200 else text[:197] + "..."


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}` marks what the assistant said; rendered as its content."""

    tags = {"generation"}

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Namespace(jinja2.utils.Namespace):
    """jinja's `namespace()`, without underscore names: those would lead out of the sandbox."""

    def __init__(*args: Any, **kwargs: Any):
        self, values = args[0], dict(*args[1:], **kwargs)
        for name in values:
            _refuse_underscore(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)


def _refuse_underscore(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"namespace attribute {name!r} begins with an underscore")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """jinja's own `tojson` escapes HTML characters; prompts want them as they are."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


@lru_cache(maxsize=64)
def _compile(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(
        raise_exception=_raise_exception, strftime_now=_strftime_now, namespace=_Namespace
    )
    return environment.from_string(template)

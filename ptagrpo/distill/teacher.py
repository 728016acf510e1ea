"""A teacher behind an OpenAI-compatible endpoint: bounded concurrency, patience, and no key in any text.

Uses the `openai` client (optional: `pip install 'ptagrpo[teacher]'`) for the protocol and our own loop for
retries, because a run of ten thousand requests needs one shared view of `Retry-After` and of an endpoint that
is gone.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from ..errors import ConfigError, TeacherError
from .cache import Reply

FATAL_STATUS = {401: "the key was refused", 403: "access was refused", 404: "no such address or model"}
REFUSED_STATUS = {400, 413, 422}


@dataclass(frozen=True)
class Request:
    """One question to a teacher: chat messages, and the key of their cache entry."""

    key: str
    messages: list[dict[str, Any]]


class Teacher(Protocol):
    """What distillation needs from a teacher.

    name: the model, as it enters cache keys and reports. params: everything else that decides a reply.
    """

    name: str
    params: dict[str, Any]
    retries: int

    def ask_many(
        self,
        requests: list[Request],
        on_reply: Callable[[Request, Reply], None],
        on_failure: Callable[[Request, str], None],
    ) -> None:
        """Answer every request, in any order, through exactly one of the two callbacks (from any thread)."""


@dataclass
class EndpointTeacher:
    """A model behind an OpenAI-compatible chat endpoint.

    Args:
        name: model name as the endpoint knows it.
        base_url: address of the endpoint ("http://host:8000/v1"); None: the client's default.
        api_key_env: environment variable that holds the key. The key itself is never a setting, so that it
            cannot end in a file, a log or a list of processes. Unset with a `base_url` given: "none" is sent.
        temperature, top_p, max_tokens: sampling; max_tokens counts the reply.
        concurrency: most requests in flight at any time.
        timeout: seconds without an answer after which a request counts as failed.
        max_retries: repetitions of a request that failed for a reason that may pass (429, 408, 409, 425, 5xx,
            time-out, lost connection, a reply that is not what the protocol promises).
        backoff, max_backoff: seconds before the first repetition and at most; doubled each time, times a
            random factor in [0.5, 1]. A `Retry-After` of the endpoint is waited for in full, by all workers.
        max_retry_after: seconds; a longer `Retry-After` ends the run with a message instead.
        max_failures: so many requests in a row failed for good: the endpoint is gone, the run ends.
        extra_body: further fields of the request, as {"chat_template_kwargs": {"enable_thinking": false}}.

    Raises:
        ConfigError: the client is not installed, no key, a setting out of range.
        TeacherError (from `ask_many`): the endpoint refuses the key or the model, or is gone.
    """

    name: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    temperature: float = 0.7
    top_p: float = 1.0
    max_tokens: int = 1024
    concurrency: int = 8
    timeout: float = 120.0
    max_retries: int = 6
    backoff: float = 1.0
    max_backoff: float = 60.0
    max_retry_after: float = 600.0
    max_failures: int = 10
    extra_body: dict[str, Any] | None = None
    retries: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        limits = {"concurrency": 1, "max_tokens": 1, "max_retries": 0, "max_failures": 1, "temperature": 0}
        for setting, least in limits.items():
            if getattr(self, setting) < least:
                raise ConfigError(f"{setting}: expected at least {least}, got {getattr(self, setting)}")
        if not self.timeout > 0:
            raise ConfigError(f"timeout: expected seconds above 0, got {self.timeout}")
        self._key = os.environ.get(self.api_key_env) or ("none" if self.base_url else None)
        if self._key is None:
            raise ConfigError(
                f"no key: set the environment variable {self.api_key_env} (api_key_env names another), "
                "or give the base_url of an endpoint that needs none"
            )
        self._openai = _import_openai()
        self._client = self._openai.OpenAI(
            base_url=self.base_url, api_key=self._key, timeout=self.timeout, max_retries=0
        )
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._hold_until = 0.0
        self._failed_in_a_row = 0

    @property
    def params(self) -> dict[str, Any]:
        """What besides messages and model decides a reply."""
        sampling = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return sampling if not self.extra_body else {**sampling, "extra_body": self.extra_body}

    def ask_many(
        self,
        requests: list[Request],
        on_reply: Callable[[Request, Reply], None],
        on_failure: Callable[[Request, str], None],
    ) -> None:
        """See `Teacher`. `on_reply` runs in the worker that received the reply, before anything else is
        asked.

        Ctrl-C returns at once: finished replies went through `on_reply`, requests in flight are given up.
        """
        self._stop.clear()
        todo: queue.SimpleQueue[Request] = queue.SimpleQueue()
        for request in requests:
            todo.put(request)
        outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        workers = min(self.concurrency, len(requests))
        for number in range(workers):
            # Daemon threads: a hung connection must not keep the process alive after Ctrl-C.
            threading.Thread(
                target=self._work,
                args=(todo, on_reply, on_failure, outcomes),
                daemon=True,
                name=f"teacher-{number}",
            ).start()
        try:
            for _ in range(workers):
                problem = _wait(outcomes)
                if problem is not None:
                    raise problem
        finally:
            self._stop.set()

    def _work(
        self, todo: queue.SimpleQueue, on_reply: Callable, on_failure: Callable, outcomes: queue.SimpleQueue
    ):
        try:
            while not self._stop.is_set():
                try:
                    request = todo.get_nowait()
                except queue.Empty:
                    break
                try:
                    reply = self._ask(request)
                except _RowFailure as failure:
                    self._count_failure(str(failure))
                    on_failure(request, str(failure))
                    continue
                if reply is None:
                    break
                with self._mutex:
                    self._failed_in_a_row = 0
                on_reply(request, reply)
            outcomes.put(None)
        except BaseException as problem:  # handed to the caller's thread
            outcomes.put(problem)

    def _count_failure(self, why: str) -> None:
        with self._mutex:
            self._failed_in_a_row += 1
            gone = self._failed_in_a_row >= self.max_failures
        if gone:
            raise TeacherError(
                f"{self.max_failures} requests in a row failed for good at {self._address()}, the last: "
                f"{why}. "
                "Finished replies are saved; run the same command again when it is back"
            )

    def _ask(self, request: Request) -> Reply | None:
        """One request with its repetitions; None when the run was stopped meanwhile."""
        for attempt in range(self.max_retries + 1):
            if not self._wait_for_hold():
                return None
            try:
                return self._ask_once(request)
            except _Transient as problem:
                if attempt == self.max_retries:
                    raise _RowFailure(f"{problem} (after {attempt + 1} attempts)") from problem
                with self._mutex:
                    self.retries += 1
                if problem.retry_after is not None:
                    self._hold(problem.retry_after)
                delay = min(self.max_backoff, self.backoff * 2**attempt) * random.uniform(0.5, 1.0)
                if self._stop.wait(delay):
                    return None
        raise AssertionError("unreachable")

    def _ask_once(self, request: Request) -> Reply:
        openai = self._openai
        try:
            answer = self._client.chat.completions.create(
                model=self.name,
                messages=request.messages,
                temperature=self.temperature,
                top_p=self.top_p,
                max_tokens=self.max_tokens,
                extra_body=self.extra_body,
            )
            return _reply(answer)
        except openai.APIStatusError as error:
            status = error.status_code
            if status in FATAL_STATUS or _out_of_credit(error):
                why = FATAL_STATUS.get(status, "no credit left")
                raise TeacherError(
                    f"{self._address()} answered {status}, {why}: {self._safe(error)}"
                ) from None
            if status in REFUSED_STATUS:
                raise _RowFailure(
                    f"the teacher refused the request ({status}): {self._safe(error)}"
                ) from None
            raise _Transient(f"status {status}: {self._safe(error)}", _retry_after(error)) from None
        except openai.APITimeoutError:
            raise _Transient(f"no answer within {self.timeout:g} s") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise _Transient(f"no connection to {self._address()}: {self._safe(cause)}") from None
        except (openai.APIError, ValueError, AttributeError, TypeError, LookupError) as error:
            raise _Transient(f"malformed reply: {type(error).__name__}: {self._safe(error)}") from None

    def _hold(self, seconds: float) -> None:
        if seconds > self.max_retry_after:
            raise TeacherError(
                f"{self._address()} asks to come back in {seconds:.0f} s, more than max_retry_after = "
                f"{self.max_retry_after:.0f} s. Finished replies are saved; run the same command again then"
            )
        with self._mutex:
            self._hold_until = max(self._hold_until, time.monotonic() + seconds)

    def _wait_for_hold(self) -> bool:
        while (left := self._hold_until - time.monotonic()) > 0:
            if self._stop.wait(left):
                return False
        return not self._stop.is_set()

    def _address(self) -> str:
        url = self._client.base_url
        return f"{url.scheme}://{url.host}{f':{url.port}' if url.port else ''}{url.path}"

    def _safe(self, error: BaseException) -> str:
        """The message of an error, short and without the key."""
        text = str(error) or type(error).__name__
        if len(self._key) > 4:
            text = text.replace(self._key, "***")
        return text if len(text) <= 300 else text[:300] + "…"


class _Transient(Exception):
    """A failure that may pass. `retry_after`: seconds that the endpoint asked for, or None."""

    def __init__(self, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after


class _RowFailure(Exception):
    """This request failed for good; others may not."""


def _import_openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise ConfigError(
            "a teacher behind an endpoint needs the optional package openai: pip install 'ptagrpo[teacher]' "
            "(or let the model write the plans itself, which needs no endpoint)"
        ) from error
    return openai


def _wait(outcomes: queue.SimpleQueue) -> BaseException | None:
    """Wait in short steps, so that Ctrl-C is seen at once on every platform."""
    while True:
        try:
            return outcomes.get(timeout=0.2)
        except queue.Empty:
            continue


def _reply(answer: Any) -> Reply:
    if isinstance(answer, str) or not getattr(answer, "choices", None):
        raise ValueError(f"expected a chat completion with choices, got {str(answer)[:80]!r}")
    choice, usage = answer.choices[0], getattr(answer, "usage", None)
    text = choice.message.content
    if text is not None and not isinstance(text, str):
        raise ValueError(f"expected the message's content as text, got {type(text).__name__}")
    return Reply(
        text or "",
        str(choice.finish_reason or "stop"),
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
    )


def _count(usage: Any, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) and value >= 0 else None


def _out_of_credit(error: Any) -> bool:
    return "insufficient_quota" in {getattr(error, "code", None), getattr(error, "type", None)}


def _retry_after(error: Any) -> float | None:
    """Seconds of the `Retry-After` header: a number or a date (RFC 9110, 10.2.3); None when absent or
    unreadable."""
    value = error.response.headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None

"""A real HTTP server on this machine that speaks the chat-completions protocol, well or badly, as a test
asks.

Used by the distillation tests. It counts what really arrives: requests, keys, and how many were in flight at
once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Act:
    """What the server does with one request: wait, then answer with a status, a body and headers, or hang up.

    body None: a well-formed completion of `text`. hang_up: close the connection without an answer.
    """

    text: str = "1. Find the structure.\n2. Use it."
    status: int = 200
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    finish_reason: str = "stop"
    usage: bool = True
    hang_up: bool = False


class TeacherServer:
    """`with TeacherServer(act) as server:` where `act(number, messages)` decides about request `number` (from
    0)."""

    def __init__(self, act: Callable[[int, list[dict[str, Any]]], Act] | None = None):
        self.act = act or (lambda number, messages: Act())
        self.bodies: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.times: list[float] = []
        self.in_flight = self.most_in_flight = self.answered = 0
        self.mutex = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                owner._serve(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """A client that was killed is part of the tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> TeacherServer:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.mutex:
            number = len(self.bodies)
            self.bodies.append(body)
            self.authorizations.append(handler.headers.get("Authorization"))
            self.times.append(time.monotonic())
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            act = (
                self.act(number, body["messages"])
                if handler.path == "/v1/chat/completions"
                else Act(status=404)
            )
            time.sleep(act.delay)
            if act.hang_up:
                handler.close_connection = True
                return
            data = (self._completion(body, act) if act.body is None else act.body).encode()
            with self.mutex:
                self.answered += act.status == 200 and act.body is None
                self.in_flight -= 1  # before the last byte leaves: the client may ask again at once
        finally:
            if act.hang_up:
                with self.mutex:
                    self.in_flight -= 1
        handler.send_response(act.status)
        for name, value in {"Content-Type": "application/json", **act.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    @staticmethod
    def _completion(body: dict[str, Any], act: Act) -> str:
        if act.status != 200:
            return json.dumps(
                {"error": {"message": f"made to answer {act.status}", "type": "test", "code": None}}
            )
        prompt_tokens = sum(len(message["content"].split()) for message in body["messages"])
        completion_tokens = len(act.text.split())
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        return json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": act.finish_reason,
                        "logprobs": None,
                        "message": {"role": "assistant", "content": act.text},
                    }
                ],
                **({"usage": usage} if act.usage else {}),
            }
        )

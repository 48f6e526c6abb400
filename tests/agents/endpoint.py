"""An OpenAI-compatible endpoint on this machine: it gives the answers that a test has written down."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Endpoint:
    """Answers request after request by `answers` (the last one again and again); keeps what was `asked`.

    An answer is what `says`, `asks`, `refuses` or `sends` made, or a function of the request's body that
    gives one. `gone` is set when a client has left during a `hangs`.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections: set[Any] = set()
        self.begun, self.gone = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                outer._post(self)

            def log_message(self, *args: Any) -> None:
                """Nothing is printed."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client may leave at any time; what else goes wrong is told."""
                if not isinstance(sys.exception(), ConnectionError):
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.asked.append(body)
            self.headers.append({key.lower(): value for key, value in handler.headers.items()})
            self.connections.add(handler.client_address)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if handler.path != "/v1/chat/completions":
            answer = refuses(404, f"no {handler.path} here")
        while not isinstance(answer, tuple):
            answer = answer(body)
        status, kind, parts = answer
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in parts:
            if part is HANG:
                self.begun.set()
                handler.rfile.read(1)  # until the client leaves
                self.gone.set()
            if part in (HANG, CUT):
                handler.close_connection = True
                return
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")


HANG, CUT = object(), object()
Answer = tuple[int, str, list[Any]]


def _chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    said = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "served", "choices": choices}
    return f"data: {json.dumps(said | more)}\n\n".encode()


def says(*pieces: str, finish: str = "stop", tokens: int = 7, refusal: str | None = None) -> Answer:
    """A text, piece by piece, with its usage at the end."""
    parts: list[Any] = [_chunk({"role": "assistant", "content": ""})]
    parts += [_chunk({"content": piece}) for piece in pieces]
    parts += [_chunk({"refusal": refusal})] if refusal else []
    return sends(*parts, _chunk({}, finish), _usage(tokens), b"data: [DONE]\n\n")


def asks(*calls: tuple[str, str, dict[str, Any]], text: str = "") -> Answer:
    """Tool calls (id, name, arguments), each in two pieces."""
    parts = [_chunk({"content": text})]
    for index, (id, name, arguments) in enumerate(calls):
        written = json.dumps(arguments)
        first = {"id": id, "type": "function", "function": {"name": name, "arguments": written[:3]}}
        for piece in (first, {"function": {"arguments": written[3:]}}):
            parts.append(_chunk({"tool_calls": [{"index": index, **piece}]}))
    return sends(*parts, _chunk({}, "tool_calls"), _usage(9), b"data: [DONE]\n\n")


def in_one(message: dict[str, Any], **more: Any) -> Answer:
    """The whole answer as one JSON object, by an endpoint that does not stream."""
    choices = [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]
    return 200, "application/json", [json.dumps({"model": "served", "choices": choices, **more}).encode()]


def _usage(tokens: int) -> bytes:
    return _chunk(None, usage={"prompt_tokens": tokens - 2, "completion_tokens": 2, "total_tokens": tokens})


def refuses(status: int, message: str, **more: Any) -> Answer:
    """An error in OpenAI's form."""
    return status, "application/json", [json.dumps({"error": {"message": message, **more}}).encode()]


def sends(*parts: Any) -> Answer:
    """These bytes as an event stream; after `HANG` nothing more comes, at `CUT` the connection is closed."""
    return 200, "text/event-stream", list(parts)


def hangs(*pieces: str) -> Answer:
    """A beginning, and then nothing until the client leaves."""
    return sends(*(_chunk({"content": piece}) for piece in pieces), HANG)


def breaks_off(*pieces: str) -> Answer:
    """A beginning, and then the connection is closed."""
    return sends(*(_chunk({"content": piece}) for piece in pieces), CUT)


Script = Callable[[dict[str, Any]], Answer]

"""An attempt in another process: packed, sent, called there; what it says and gives is sent back.

cloudpickle carries functions that were defined in cells. What is unpacked here was packed by this very
run a moment ago: nothing from a file or another user is ever unpickled.
"""

from __future__ import annotations

import contextvars
import io
import os
import pickle
import sys
import threading
from collections import ChainMap
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from types import CodeType
from typing import Any, BinaryIO, ClassVar

from ..actions import FunctionAction, NodeCtx
from ..core.model import NodeOutput
from . import capture, exceptions

# what an attempt says there: (name of a method of `Talk`, its arguments)
Saying = tuple[str, tuple[Any, ...]]


def pack(action: FunctionAction, ctx: NodeCtx) -> bytes:
    """An action and what it is given, as bytes; raises `TypeError` where they cannot be sent."""
    given = {
        "dag_name": ctx.dag_name,
        "node_id": ctx.node_id,
        "action": ctx.action,
        "run_id": ctx.run_id,
        "attempt": ctx.attempt,
        "inputs": dict(ctx.inputs),
        "app_data": ctx.app_data,
    }
    try:
        packed = _pickled((action, given))
    except Exception as bad:
        for what, value in (("the action", action), *given["inputs"].items(), ("app_data", ctx.app_data)):
            try:
                _pickled(value)
            except Exception:
                name = what if value is action else repr(what)
                raise TypeError(f"{name} cannot be sent to another process: {bad}") from bad
        raise
    return packed


def _pickled(value: Any) -> bytes:
    """What cloudpickle makes of it, but that functions keep their files' names: tracebacks show them."""
    stream = io.BytesIO()
    _pickler()(stream).dump(value)
    return stream.getvalue()


@cache
def _pickler() -> Any:
    import cloudpickle

    usual = cloudpickle.Pickler.dispatch_table
    named = {CodeType: lambda code: (_code, (code.co_filename, *usual[CodeType](code)))}

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no type hints
        dispatch_table: ClassVar[Any] = ChainMap(named, usual)

    return Pickler


def _code(filename: str, make: Callable[..., CodeType], args: tuple[Any, ...]) -> CodeType:
    return make(*args).replace(co_filename=filename)


class Away:
    """The channel of an attempt in another process: what it says is handed to `say`."""

    echo = False
    cancelled = False  # who cancels it ends the process

    def __init__(self, say: Callable[[Saying], None]) -> None:
        self._say = say

    def log(self, message: str, level: str) -> None:
        """A line that the action logs itself."""
        self._say(("log", (message, level)))

    def logged(self, level: str, message: str) -> None:
        """A record of the standard `logging`."""
        self._say(("logged", (level, message)))

    def progress(self, fraction: float, message: str | None) -> None:
        """How far it is."""
        self._say(("progress", (fraction, message)))

    def emit(self, name: str, data: Any) -> None:
        """An event for the hooks."""
        self._say(("emit", (name, data)))

    def stream(self, token: str) -> None:
        """A piece of text for who watches."""
        self._say(("stream", (token,)))

    def usage(self, tokens: float, cost: float) -> None:
        """What it used up."""
        self._say(("usage", (tokens, cost)))

    def wrote(self, stream: str, text: str) -> str:
        """What it printed: shown at the other end."""
        self._say(("wrote", (stream, text)))
        return ""


def run(packed: bytes, say: Callable[[Saying], None], cache: Any = None) -> bytes:
    """Call a packed action; returns its outcome or its exception, packed."""
    import cloudpickle

    action, given = pickle.loads(packed)
    channel = Away(say)
    ctx = NodeCtx(**given, cache=cache, channel=channel)
    try:
        capture.CURRENT.set(channel)
        outcome = action.invoke(ctx)
    except BaseException as error:
        return pickle.dumps((None, exceptions.send(error)))
    try:
        answer: bytes = cloudpickle.dumps((outcome, None))
    except Exception as bad:
        text = f"the result of {ctx.node_id!r} cannot be sent back from its process: {bad}"
        answer = pickle.dumps((None, exceptions.send(TypeError(text))))
    return answer


def call(packed: bytes) -> tuple[bytes, list[Saying]]:
    """`run` for any executor: what the action says comes back together with its result."""
    said: list[Saying] = []
    capture.start()
    try:
        return contextvars.copy_context().run(run, packed, said.append), said
    finally:
        capture.stop()


def unpack(packed: bytes) -> tuple[NodeOutput | None, BaseException | None]:
    """What `run` returned."""
    outcome, sent = pickle.loads(packed)
    return outcome, exceptions.receive(sent)


# --- a worker process -------------------------------------------------------------------------


class Pipe:
    """Messages over two binary files: eight bytes of length, then the pickled message."""

    def __init__(self, source: BinaryIO, target: BinaryIO) -> None:
        self._source, self._target = source, target
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        """Send a message; from any thread."""
        import cloudpickle

        data = cloudpickle.dumps(message)
        with self._lock:
            self._target.write(len(data).to_bytes(8, "big"))
            self._target.write(data)
            self._target.flush()

    def receive(self) -> Any:
        """The next message; `EOFError` when the other end is gone."""
        return pickle.loads(self._exactly(int.from_bytes(self._exactly(8), "big")))

    def _exactly(self, size: int) -> bytes:
        data = self._source.read(size)
        if len(data) < size:
            raise EOFError("the other end is gone")
        return data


class CacheThere:
    """`ctx.cache` in a worker process: it asks the process that has the values."""

    def __init__(self, pipe: Pipe, answers: SimpleQueue[Any]) -> None:
        self._pipe, self._answers, self._lock = pipe, answers, threading.Lock()

    def get(self, namespace: str, key: str, default: Any = None) -> Any:
        """The value under `key` in `namespace`, or `default`."""
        with self._lock:
            self._pipe.send(("get", (namespace, key)))
            found = self._answers.get()
        return found[0] if found else default


def serve() -> None:
    """The main function of a worker process: attempts come on its stdin, one after the other.

    What an attempt says and gives goes to the file that was stdout; what prints past Python goes to
    stderr instead. When the parent is gone the process ends at once.
    """
    pipe = Pipe(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    attempts: SimpleQueue[bytes] = SimpleQueue()
    answers: SimpleQueue[Any] = SimpleQueue()

    def listen() -> None:
        try:
            while True:
                kind, data = pipe.receive()
                (attempts if kind == "attempt" else answers).put(data)
        except BaseException:
            os._exit(0)

    threading.Thread(target=listen, name="dagflow-listen", daemon=True).start()
    if sys.stdout is None or sys.stderr is None:  # a process without a console
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 # as long as the process
    capture.start()
    cache = CacheThere(pipe, answers)
    while True:
        packed = attempts.get()
        result = contextvars.copy_context().run(run, packed, pipe.send, cache)
        pipe.send(("result", (result,)))

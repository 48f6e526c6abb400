"""How the function of a hook is called: on the loop or in a thread."""

from __future__ import annotations

import functools
import inspect
import itertools
import time
from collections.abc import Callable
from types import GeneratorType
from typing import Any

from ..threads import Call, Threads
from .quick import Proof, prove

# seconds for which the loop itself waits for a `def` hook that was as quick the last time
QUICK = 0.0005
# seconds after which a hook that may be called on the loop is called in a thread the next time
SLOW = 0.001
# the call in a thread at which a function is read: until then that takes longer than what it saves
READ_AT = 10
_THREADS = Threads("dagflow-hook")


def caller(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as something to await: `async def` on the loop, `def` in a thread.

    Async generators come back as they are, to be read on the loop; generators are read where they are called.
    A `def` that provably only looks and decides is called on the loop, too.
    """
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not inspect.isroutine(inner) and not isinstance(inner, type):
        inner = inspect.getattr_static(type(inner), "__call__", inner)
    if inspect.iscoroutinefunction(inner):
        return function
    if inspect.isasyncgenfunction(inner):

        async def give(*first: Any, **named: Any) -> Any:
            return function(*first, **named)

        return give
    return Plain(function)


class Plain:
    """A `def` hook: to be awaited; and what is known of it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._seconds = 0.0  # that its last call took
        # whether it only looks and decides where `may` says so, and was quick the last time
        self.is_proved = False
        self._calls = itertools.count(1)
        self._proof: Proof | None = None
        self._is_read = False

    def read(self) -> None:
        """Read the function before a run needs it; once, as it may be a long one that is no good."""
        if not self._is_read:
            self._is_read = True
            self._prove()

    def _prove(self) -> None:
        self._proof = prove(self._function)
        self.is_proved = self._proof is not None and self._seconds < SLOW

    def may(self, first: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Whether a call with these arguments provably only looks and decides, so that `call` may be used."""
        proof = self._proof
        return self.is_proved and proof is not None and proof.holds(first, named)

    async def __call__(self, *first: Any, **named: Any) -> Any:
        """What the function returns or yields."""
        if self.may(first, named):
            return self.call(first, named)
        # Not `asyncio.to_thread`: Python waits for its threads at exit, which one hook that hangs would
        # keep from ever coming.
        call = Call(functools.partial(self._call_in_thread, first, named))
        _THREADS.submit(call.run)
        return await call.outcome(QUICK if self._seconds < QUICK else 0.0)

    def _call_in_thread(self, first: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if next(self._calls) == READ_AT:
            self._prove()  # names that it uses may have been defined meanwhile
        return self.call(first, named)

    def call(self, first: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """What the function returns or yields, here and now."""
        begin = time.perf_counter()
        try:
            answer = self._function(*first, **named)
            return list(answer) if isinstance(answer, GeneratorType) else answer
        finally:
            self._seconds = seconds = time.perf_counter() - begin
            self.is_proved = self._proof is not None and seconds < SLOW

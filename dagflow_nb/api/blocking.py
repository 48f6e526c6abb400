"""Waiting for runs in a cell: shown while they go on, stopped by an interrupt."""

from __future__ import annotations

import asyncio
import concurrent.futures
import warnings
from typing import Any

from ..core import messages as m
from ..errors import tell
from ..runtime.engine import Engine
from .controls import Controls, show_in_view
from .run import Run

STOP_WITHIN = 15.0  # seconds that a run, or all of a flow, has to stop in


class Blocking:
    """The part of `DagFlow` that waits."""

    _engine: Engine
    _runs: Any
    _last: Run | None

    def _block(self, run: Run, view: bool | str) -> Run:
        try:
            return self._show(run, view).wait()
        except KeyboardInterrupt:
            raise self._stop([run]) from None

    def _stop(self, runs: list[Run]) -> BaseException:
        """Interrupt what is under way of these runs, and wait until it has stopped; returns what to raise."""
        future = self._engine.submit(self._interrupt(runs))
        try:
            future.result(STOP_WITHIN)
        except concurrent.futures.TimeoutError:
            names = ", ".join(run.run_id for run in runs)
            warnings.warn(f"run {names} did not stop within {STOP_WITHIN:g} s", RuntimeWarning, stacklevel=4)
        return self._told(KeyboardInterrupt(), runs)

    def _told(self, error: BaseException, runs: list[Run]) -> BaseException:
        """The error; if it is an interrupt of these runs, it says how to go on."""
        if not isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
            return error
        left = ", ".join(run.run_id for run in runs if run.status == "interrupted")
        return tell(error, f"run {left} is interrupted: go on with flow.resume()" if left else "")

    async def _interrupt(self, runs: list[Run]) -> None:
        for run in runs:
            coordinator = run._coordinator
            if coordinator is not None and not coordinator.done.done():
                coordinator.go()
                coordinator.post(m.Interrupt(coordinator.clock.now()))
                await asyncio.wait([coordinator.done])

    def _keep(self, run: Run) -> Run:
        self._runs[run.run_id] = run
        self._last = run
        return run

    def _show(self, run: Run, view: bool | str) -> Run:
        """Draw a run in this cell while it goes on; one that was held for that begins now."""
        coordinator = run._coordinator
        try:
            chosen = None if view is False else show_in_view(run, view)
            if chosen is not None and coordinator is not None and run._live:
                coordinator.loop.call_soon_threadsafe(coordinator.watch.add_view, chosen)
            elif chosen is not None:
                chosen.finish(Controls(run).snapshot)
        finally:
            if coordinator is not None and run._live:
                coordinator.loop.call_soon_threadsafe(coordinator.go)
        return run

"""Waiting for runs in a cell: shown while they go on, stopped by an interrupt."""

from __future__ import annotations

import asyncio
import concurrent.futures
import warnings
from typing import Any

from .controls import Controls, show_in_view
from .core import messages as m
from .run import Run
from .runtime.engine import Engine

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

    def _stop(self, runs: list[Run]) -> KeyboardInterrupt:
        """Interrupt what is under way of these runs, and wait until it has stopped; returns what to raise."""
        future = self._engine.submit(self._interrupt(runs))
        try:
            future.result(STOP_WITHIN)
        except concurrent.futures.TimeoutError:
            names = ", ".join(run.run_id for run in runs)
            warnings.warn(f"run {names} did not stop within {STOP_WITHIN:g} s", RuntimeWarning, stacklevel=4)
        left = [run.run_id for run in runs if run.status == "interrupted"]
        text = f"run {', '.join(left)} is interrupted: go on with flow.resume()" if left else ""
        error = KeyboardInterrupt(text) if left else KeyboardInterrupt()
        # what a cell shows: where the package waited is no news
        setattr(error, "_render_traceback_", lambda: [f"KeyboardInterrupt: {text}".rstrip(": ")])  # noqa: B010 # IPython's
        return error

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

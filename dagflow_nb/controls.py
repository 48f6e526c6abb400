"""What a view's buttons and panels do to a run."""

from __future__ import annotations

import reprlib
from typing import Any

from .core.model import Ref
from .run import Run


class Controls:
    """What a view's buttons do to a run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def pause(self) -> object:
        return self._run.pause(reason="paused by hand")

    def resume(self, branch: str | None = None, answers: dict[str, Any] | None = None) -> object:
        return self._run._resume(branch, answers or {})

    def cancel(self) -> object:
        return self._run.cancel(reason="cancelled by hand")

    def retry(self, node: str) -> object:
        return self._run.retry(node)

    def approve(self, branch: str | None, answers: dict[str, Any]) -> object:
        return self._run._resume(branch, {"approved": True, **answers})

    def reject(self, branch: str | None) -> object:
        return self._run.reject(branch)

    def values(self, node: str) -> dict[str, dict[str, str]]:
        """A node's inputs and outputs as short texts; an input that is not there yet as it is written."""
        scheduler, values, _ = self._run._state()
        found = scheduler.nodes[node]
        spec = found.spec.inputs
        written = {name: str(v) if isinstance(v, Ref) else _brief(v) for name, v in spec.items()}
        there = {name: _brief(value) for name, value in values.resolve(found, lambda name: None).items()}
        outputs = found.outcome.outputs if found.outcome is not None else {}
        return {"Inputs": written | there, "Outputs": {str(k): _brief(v) for k, v in outputs.items()}}


def _brief(value: Any) -> str:
    """`repr(value)`, without the middle of what is long: big values are not written out to be cut then."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 300
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = 20
    return short.repr(value)

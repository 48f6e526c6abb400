"""Which view a run gets, and the one of terminals: a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ValidationError, shorten

if TYPE_CHECKING:
    from ..runtime.snapshot import Snapshot
    from .view import Controls

_ENDED = ("completed", "cached", "recovered", "failed", "skipped", "cancelled")


class View(Protocol):
    """What the engine tells of a run; every method may be called from the run's own thread."""

    def show(self, snapshot: Snapshot) -> None: ...
    def update(self, snapshot: Snapshot) -> None: ...
    def log(self, node_id: str, text: str, stream: str = "stdout") -> None: ...
    def finish(self, last: Callable[[], Snapshot]) -> None: ...


def choose_view(
    view: bool | str,
    controls: Controls,
    *,
    logs: Callable[[], Iterable[tuple[str, str, str]]] | None = None,
) -> View | None:
    """The view for `view="auto"`, True or False: None is no view.

    `"auto"`: the live view in a notebook's kernel, a bar where stderr is a terminal, else nothing.
    True: the live view in a notebook's kernel, else the bar, wherever stderr goes. Anything else is a
    `ValidationError`. `logs` gives what nodes have said before; asked only for a view that shows it.
    """
    check_view(view)
    if view is False:
        return None
    if in_notebook():
        from .view import LiveView

        return LiveView(controls, logs=logs() if logs is not None else None)
    if view is True or (sys.stderr is not None and sys.stderr.isatty()):
        return TerminalView()
    return None


def check_view(view: object) -> None:
    """Raises `ValidationError` for what is no `view`."""
    if view is not True and view is not False and view != "auto":
        raise ValidationError(
            f"view is 'auto', True or False, not {shorten(view)}", culprit="view", value=view
        )


def in_notebook() -> bool:
    """Whether this process is a kernel: IPython is there, and has a kernel behind it (also on Colab)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class TerminalView:
    """A run as a `tqdm` bar on stderr: how many nodes have ended, what runs, what failed."""

    def __init__(self) -> None:
        self._bar: Any = None

    def show(self, snapshot: Snapshot) -> None:
        """Draws the bar."""
        self.update(snapshot)

    def update(self, snapshot: Snapshot) -> None:
        """Moves the bar on."""
        from tqdm import tqdm

        from .drawing import leaf_counts

        counts = leaf_counts(snapshot)
        if self._bar is None:
            self._bar = tqdm(desc=snapshot.dag_name, unit="node", leave=True, dynamic_ncols=True)
            if (self._bar.ncols or 1) < 1:  # a terminal that does not say how large it is
                self._bar.ncols = self._bar.nrows = self._bar.dynamic_ncols = None
        self._bar.total = sum(counts.values())
        self._bar.n = sum(counts.get(state, 0) for state in _ENDED)
        telling = ("failed", "retrying", "paused")
        told = {state: str(counts[state]) for state in telling if state in counts}
        running = [node.id for node in snapshot.nodes if node.status == "running"]
        if running:
            told["running"] = running[0] if len(running) == 1 else f"{running[0]} +{len(running) - 1}"
        self._bar.set_postfix(told, refresh=False)
        self._bar.refresh()

    def log(self, node_id: str, text: str, stream: str = "stdout") -> None:
        """Nothing: what nodes print is on the terminal already."""

    def finish(self, last: Callable[[], Snapshot]) -> None:
        """Draws the bar for the last time and ends its line; a later `update` begins a new one."""
        self.update(last())
        self._bar.close()
        self._bar = None

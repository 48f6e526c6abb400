"""The widget behind the live view: what is synchronised with the page, and the messages between them.

The page (`static/dagflow.js`) gets the laid-out graph once for each topology, and each node's description
once; states go as small patches. All of it are custom messages, which the page keeps in its copy of the
model; the traits here are brought up to date in silence, for pages that are loaded later.

Messages to the page: `graph` (`graph`: its SVG, what is hidden in which box, how it is folded; `defs`: new or
changed nodes; `gone`: ids), `patch` (`states`, `run`), `log` (`lines`), `done` (`id`, `error`, `fields`),
`look` (`node`, `inputs`, `outputs`, `attempts`, `code`), `past` (see `past`). From the page: `hello`, `look`
(`node`), `past`, `fold` (`by`, `node` and `open`, or `reveal`), `do` (`id`, `what`, what that needs).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets  # type: ignore[import-untyped]  # the package has no type hints
import traitlets

from .page import append_lines
from .style import LOOKS

STATIC = Path(__file__).with_name("static")
SCRIPTS = ("base", "graph", "finder", "values", "form", "details", "tabs", "past", "dagflow")
"""The parts of the page's module, joined in this order: a widget has one module, and nothing builds it."""


_layouts: list[ipywidgets.Layout] = []


def _layout() -> ipywidgets.Layout:
    """One for all views: nothing in it is ever set, and each costs a run half a millisecond."""
    if not _layouts or _layouts[0].comm is None:  # somebody has closed all widgets
        _layouts[:] = [ipywidgets.Layout()]
    return _layouts[0]


def _file(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _copied(value: Any, widget: Any) -> Any:
    """A copy to send: the original is changed by another thread meanwhile."""
    return value.copy()


class DagflowWidget(anywidget.AnyWidget):
    """One run's live view; `LiveView` drives it."""

    # Traits of the class: else anywidget makes them, and with them a class, for each view anew.
    _esm = traitlets.Unicode("\n".join(_file(f"{part}.js") for part in SCRIPTS)).tag(sync=True)
    _css = traitlets.Unicode(_file("dagflow.css")).tag(sync=True)
    _anywidget_id = traitlets.Unicode(f"{__name__}.DagflowWidget").tag(sync=True)
    graph = traitlets.Dict().tag(sync=True, to_json=_copied)
    defs: traitlets.List[Any] = traitlets.List().tag(sync=True, to_json=_copied)
    states = traitlets.Dict().tag(sync=True, to_json=_copied)
    run = traitlets.Dict().tag(sync=True, to_json=_copied)
    logs: traitlets.List[Any] = traitlets.List().tag(sync=True, to_json=_copied)
    icons = traitlets.Dict().tag(sync=True)
    still = traitlets.Unicode("").tag(sync=True)

    def __init__(self, on_message: Callable[[dict[str, Any]], None], **traits: Any) -> None:
        traits = {"graph": {"svg": "", "hidden": {}, "by": "auto"}, **traits}
        icons = {state: look.icon for state, look in LOOKS.items()}
        super().__init__(icons=icons, layout=_layout(), **traits)
        self.on_msg(lambda _widget, content, _buffers: on_message(content))
        free_comm(self)

    def add_traits(self, **traits: Any) -> None:
        """Adds those that the class does not have."""
        if new := {name: trait for name, trait in traits.items() if not self.has_trait(name)}:
            super().add_traits(**new)

    def set_graph(self, graph: dict[str, Any], defs: list[dict[str, Any]]) -> None:
        """A new layout, with all nodes; only those that the page does not know are sent."""
        known = {one["id"]: one for one in self.defs}
        fresh = [one for one in defs if known.pop(one["id"], None) != one]
        self.graph.update(graph)
        self.defs[:] = defs
        self.send({"kind": "graph", "graph": graph, "defs": fresh, "gone": list(known)})

    def patch(self, states: dict[str, Any], run: dict[str, Any]) -> None:
        """New states of some nodes and the run's record: kept here in place, sent as they are."""
        self.states.update(states)
        self.run.update(run)
        self.send({"kind": "patch", "states": states, "run": run})

    def append_logs(self, lines: list[list[str]], limit: int) -> None:
        """More lines `[node_id, text, stream]`; the last `limit` are kept."""
        append_lines(self.logs, lines)
        del self.logs[:-limit]
        self.send({"kind": "log", "lines": lines})

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/plain": "Live view of a run (its picture is below)"}, metadata


def free_comm(widget: Any) -> None:
    """Lets the page's messages reach a widget while a cell blocks, with ipykernel 7.4.

    That version sends replies to the shell that last wrote to the comm, which is the main one: blocked. The
    name is a private one; where it is missing nothing needs to be done.
    """
    comm: Any = getattr(widget, "comm", None)
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, default: default

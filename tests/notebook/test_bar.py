"""Which view a run gets, and the terminal's."""

from __future__ import annotations

import io
import os
import sys
from types import SimpleNamespace

import pytest

from dagflow_nb.errors import ValidationError
from dagflow_nb.notebook.bar import TerminalView, choose_view
from dagflow_nb.notebook.view import LiveView
from dagflow_nb.runtime.snapshot import NodeView

from .conftest import run_of


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def kernel_is(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SimpleNamespace(kernel=object()) if there else SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_auto_is_what_suits_the_place(monkeypatch):
    """The live view in a kernel, a bar in a terminal, nothing where nobody looks."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    kernel_is(True, monkeypatch)
    assert isinstance(choose_view("auto", None), LiveView)
    kernel_is(False, monkeypatch)
    assert choose_view("auto", None) is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(choose_view("auto", None), TerminalView)
    monkeypatch.setattr(sys, "stderr", None)
    assert choose_view("auto", None) is None


def test_true_forces_a_view_and_false_none(monkeypatch):
    """True gives the view of the place even where nobody seems to look; False gives none anywhere."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    kernel_is(False, monkeypatch)
    assert isinstance(choose_view(True, None), TerminalView)
    kernel_is(True, monkeypatch)
    assert isinstance(choose_view(True, None), LiveView)
    assert choose_view(False, None) is None


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
def test_a_terminal_that_does_not_say_its_size_gets_a_bar(monkeypatch):
    """As in `script` and in a pseudo-terminal of 0 columns and 0 rows."""
    reading, writing = os.openpty()
    with os.fdopen(writing, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        view = TerminalView()
        view.show(run_of(NodeView("a", "act")))
        view.finish(lambda: run_of(NodeView("a", "act", status="completed")))
        written = os.read(reading, 10_000).decode()
    os.close(reading)
    assert "1/1" in written and "100%" in written


@pytest.mark.parametrize("view", ["live", None, 1, ""])
def test_other_views_are_refused(view):
    """What is no view is a ValidationError that lists what is."""
    with pytest.raises(ValidationError, match="'auto', True or False"):
        choose_view(view, None)


def test_the_bar_counts_what_has_ended(monkeypatch):
    """It shows how many nodes have ended of how many, what runs, and what failed; groups are not counted."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    view = TerminalView()
    nodes = [
        NodeView(id="m", action="f", kind="map", status="running"),
        NodeView(id="m/0", action="f", parent="m", status="completed"),
        NodeView(id="m/1", action="f", parent="m", status="failed"),
        NodeView(id="m/2", action="f", parent="m", status="running"),
        NodeView(id="m/3", action="f", parent="m", status="pending"),
    ]
    view.show(run_of(*nodes))
    view.log("m/0", "not shown twice")
    view.update(run_of(*nodes))
    view.finish(lambda: run_of(*nodes))
    text = terminal.getvalue()
    assert "pipeline" in text and "2/4" in text and "failed=1" in text
    assert "not shown twice" not in text and text.endswith("\n")
    view.finish(lambda: run_of(*nodes[:2]))
    assert "1/1" in terminal.getvalue()

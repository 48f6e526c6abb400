"""The widget as front ends get it: standard messages, one module that needs nothing from anywhere."""

from __future__ import annotations

import re

import ipywidgets

from dagflow_nb.notebook import widget as widgets
from dagflow_nb.notebook.widget import DagflowWidget


def made() -> DagflowWidget:
    return DagflowWidget(lambda message: None)


def test_the_page_needs_nothing_from_anywhere():
    """Neither module nor style sheet imports anything or names an address, but for SVG's namespace."""
    state = made().get_state()
    for text in (state["_esm"], state["_css"]):
        assert len(text) > 5000
        assert not re.search(
            r"^\s*import\b|\bimport\s*\(|\brequire\s*\(|@import|url\(|\bfrom\s+[\"']", text, re.M
        )
        assert set(re.findall(r"\w+://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|eval|Function)\s*\(", text)


def test_the_page_asks_for_no_front_end_of_a_kind():
    """It is anywidget's model with a module of ours: nothing of JupyterLab's is looked up by name."""
    state = made().get_state()
    assert (state["_model_module"], state["_view_module"]) == ("anywidget", "anywidget")
    assert re.search(r"^export default \{ initialize, render \};?$", state["_esm"], re.M)
    assert not re.search(
        r"@jupyterlab|@lumino|jupyterapp|window\.jupyter|acquireVsCodeApi|google\.colab", state["_esm"]
    )
    # their variables may colour it, where they are there
    assert not re.findall(r"var\(--(?:jp|vscode|colab)-[\w-]+\)", state["_css"])


def test_views_share_what_never_differs():
    """Neither a class nor a layout is made for each view; a layout that somebody has closed is replaced."""
    first, second = made(), made()
    assert type(first) is type(second) is DagflowWidget and first.layout is second.layout
    ipywidgets.Widget.close_all()
    third = made()
    assert third.layout is not first.layout and third.layout.comm is not None
    assert len(widgets._layouts) == 1

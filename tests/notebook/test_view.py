"""The live view without a page: what it displays, sends and writes, and from which threads."""

from __future__ import annotations

import base64
import logging
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import IPython.display
import pytest
from anywidget._util import enable_custom_widget_manager_once

from dagflow_nb.notebook import view as views
from dagflow_nb.notebook.view import LiveView
from dagflow_nb.notebook.widget import DagflowWidget, free_comm
from dagflow_nb.runtime.snapshot import NodeView

from .conftest import run_of

ROOT = Path(__file__).parents[2]


class Output:
    """One displayed output, and what it was replaced with."""

    def __init__(self, shown):
        self.shown = [shown]

    def update(self, shown, raw=False):
        assert raw
        self.shown.append(shown)


class Controls:
    """Keeps what buttons asked for; raises if told to."""

    def __init__(self):
        self.calls, self.error = [], None

    def __getattr__(self, name):
        if name.startswith("_") or name == "look":
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append((name, *arguments))
            if self.error:
                raise self.error

        return call


@pytest.fixture
def outputs(monkeypatch):
    """What was displayed, in order."""
    found = []

    def display(shown, *, display_id, raw=False):
        found.append(Output(shown))
        return found[-1]

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setenv("DAGFLOW_LAYOUT", "plain")
    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "VSCODE_CWD"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def sent(monkeypatch):
    """The messages that were sent to pages."""
    messages = []
    monkeypatch.setattr(DagflowWidget, "send", lambda self, message, buffers=None: messages.append(message))
    return messages


def settled(view: LiveView) -> None:
    """Waits until the view's worker has nothing left to do."""
    with view._news:
        assert view._news.wait_for(lambda: not view._busy(), 10)


RUN = run_of(NodeView(id="a", action="f"), NodeView(id="b", action="f", deps=("a",)))


def changed(state: str, **fields):
    """The run with its first node in another state."""
    nodes = (replace(RUN.nodes[0], status=state), *RUN.nodes[1:])
    return replace(RUN, nodes=nodes, **fields)


def test_showing_displays_the_view_and_a_place_for_its_picture(outputs, sent):
    """Two outputs: the widget with everything there is, and an empty element that belongs to it."""
    view = LiveView(Controls(), logs=[("a", "before", "stdout")])
    view.show(RUN)
    widget, still = outputs
    assert isinstance(widget.shown[0], DagflowWidget)
    assert widget.shown[0].states == {} and [one["id"] for one in widget.shown[0].defs] == ["a", "b"]
    assert widget.shown[0].logs == [["a", "before", "stdout"]]
    assert f"dagflow-static {widget.shown[0].still}" in still.shown[0]["text/html"]


def test_updates_send_only_differences(outputs, sent):
    """A patch has the changed records; one without any change is not sent; the traits stay up to date."""
    view = LiveView(Controls())
    view.show(RUN)
    view.update(replace(RUN, at=121.0))
    assert sent == []
    view.update(changed("running"))
    (patch,) = sent
    assert patch["kind"] == "patch" and patch["states"] == {"a": {"state": "running"}}
    view.update(changed("running", status="paused"))
    assert sent[1]["states"] == {} and sent[1]["run"]["status"] == "paused"
    state = outputs[0].shown[0].get_state()
    assert state["states"]["a"] == {"state": "running"} and state["run"]["status"] == "paused"


def test_a_headless_run_keeps_the_picture_alone(outputs, sent):
    """With no page in sight nothing is laid out meanwhile, and at the end a sentence replaces the widget."""
    view = LiveView(Controls())
    view.show(RUN)
    assert view._worker is None
    view.finish(lambda: changed("completed", status="completed"))
    widget, still = outputs
    assert widget.shown[1] == {"text/plain": still.shown[1]["text/plain"]}
    assert "<img" in still.shown[1]["text/html"] and "1 completed" in still.shown[1]["text/plain"]


def test_where_nobody_looks_there_is_no_widget(outputs, sent, monkeypatch):
    """In a kernel that only executes notebooks nothing is made or laid out but the picture of the end."""
    monkeypatch.setattr(views, "only_executed", lambda: True)
    monkeypatch.setattr(LiveView, "_new_widget", lambda *_: pytest.fail("a widget was made"))
    monkeypatch.setattr(views, "layout", lambda *_: pytest.fail("a graph was laid out"))
    view = LiveView(Controls())
    view.show(RUN)
    view.update(replace(changed("running"), topology=2))
    view.log("a", "one line")
    assert len(outputs) == 1 and view._worker is None and sent == []
    view.finish(lambda: changed("completed", status="completed"))
    assert "<img" in outputs[0].shown[1]["text/html"] and "1 completed" in outputs[0].shown[1]["text/plain"]


@pytest.mark.parametrize(
    ("content", "front_end", "expected"),
    [
        ({"allow_stdin": False}, False, True),
        ({"allow_stdin": False}, True, False),
        ({"allow_stdin": True}, False, False),
        ({}, False, False),
        (None, False, False),
    ],
)
def test_who_only_executes_is_told_by_what_can_be_asked(monkeypatch, content, front_end, expected):
    """Nobody looks where no front end is known and the cell's sender cannot be asked for input."""
    kernel = SimpleNamespace(get_parent=lambda: {"content": content})
    monkeypatch.setattr(views, "front_end_known", lambda: front_end)
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=kernel))
    assert views.only_executed() is expected
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    assert not views.only_executed()


def test_with_a_front_end_the_widget_stays(outputs, sent, monkeypatch):
    """Where a front end is known, or a page has said hello, the live view stays beside its picture."""
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    view = LiveView(Controls())
    view.show(RUN)
    view.finish(lambda: changed("completed"))
    settled(view)
    assert len(outputs[0].shown) == 1 and "<img" in outputs[1].shown[1]["text/html"]
    assert 'class="node box"' in outputs[0].shown[0].graph["svg"]

    monkeypatch.delenv("JPY_SESSION_NAME")
    view = LiveView(Controls())
    view.show(RUN)
    view._on_message({"kind": "hello"})
    view.finish(lambda: changed("completed"))
    settled(view)
    assert view.viewed and len(outputs[2].shown) == 1


def test_what_the_end_of_a_run_brings_comes_after_its_cell(outputs, sent, monkeypatch):
    """A run and its cell do not wait until the last state is looked at, told and drawn."""
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    monkeypatch.setattr(views, "AFTER", 20.0)
    view, looked = LiveView(Controls()), []

    def last():
        looked.append(threading.current_thread())
        return changed("completed", status="completed")

    view.show(RUN)
    view.finish(last)
    assert looked == [] and len(outputs[1].shown) == 1
    with view._news:
        view._end_due = 0.0
        view._news.notify_all()
    settled(view)
    assert len(looked) == 1 and looked[0] is not threading.current_thread()
    assert "1 completed" in outputs[1].shown[1]["text/plain"]
    assert [one for one in sent if one["kind"] == "patch"][-1]["run"]["status"] == "completed"


def test_a_run_that_goes_on_at_once_has_not_ended(outputs, sent, monkeypatch):
    """An end that is not told yet is forgotten where the run goes on; no older state follows a newer."""
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    monkeypatch.setattr(views, "AFTER", 20.0)
    view = LiveView(Controls())
    view.show(RUN)
    view.finish(lambda: changed("paused", status="paused"))
    view.update(changed("running", at=130.0))
    settled(view)
    assert len(outputs[1].shown) == 1 and outputs[0].shown[0].run["status"] == "running"
    view._end(changed("paused", status="paused"))
    assert len(outputs[1].shown) == 1 and outputs[0].shown[0].run["status"] == "running"


def test_a_cell_that_a_program_sent_waits_for_its_picture(outputs, sent, monkeypatch):
    """Executed from within a notebook's own kernel, say by papermill, a cell holds its picture at its end."""
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    monkeypatch.setattr(views, "can_be_asked", lambda: False)
    view = LiveView(Controls())
    view.show(RUN)
    view.finish(lambda: changed("completed", status="completed"))
    assert "1 completed" in outputs[1].shown[1]["text/plain"] and len(outputs[0].shown) == 1


def test_a_kernel_that_is_shut_down_after_the_cell_leaves_the_picture():
    """The picture of a run that ended just before is sent all the same."""
    from jupyter_client.manager import start_new_kernel

    code = """
import os
os.environ["JPY_SESSION_NAME"] = "notebook.ipynb"
from dagflow_nb import DagFlow, Workflow
flow = DagFlow(":memory:", echo=False)
@flow.action
def act():
    return 1
workflow = Workflow("short")
workflow.add(act)
flow.run(workflow)
"""
    manager, client = start_new_kernel(kernel_name="python3", env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert client.execute_interactive(code, timeout=60)["content"]["status"] == "ok"
        client.shutdown()
        while True:
            message = client.get_iopub_msg(timeout=20)
            if message["msg_type"] == "update_display_data":
                break
        assert "<img" in message["content"]["data"]["text/html"]
        assert "1 completed" in message["content"]["data"]["text/plain"]
        manager.finish_shutdown()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def test_a_kernel_that_ends_is_not_kept_by_what_goes_on(outputs, sent, monkeypatch):
    """Nodes that print on and on while the process waits for its threads start none."""
    view = LiveView(Controls())
    view.show(RUN)
    monkeypatch.setattr(views, "_kernel_ends", lambda: True)
    view.log("a", "one line")
    view.log("a", "another")
    assert view._worker is None
    view._work()  # one that was there already comes to its end
    assert view._next_job() is None


def test_a_page_that_comes_late_gets_its_graph(outputs, sent):
    """The graph is laid out when the first page says hello, in the background."""
    view = LiveView(Controls())
    view.show(RUN)
    view._on_message({"kind": "hello"})
    settled(view)
    widget = outputs[0].shown[0]
    assert 'data-node="b"' in widget.graph["svg"] and [one["id"] for one in widget.defs] == ["a", "b"]


def test_only_what_the_page_does_not_know_is_sent(outputs, sent):
    """A new topology sends the new nodes and the ids of those that are gone, not all of them again."""
    view = LiveView(Controls())
    view.show(RUN)
    view._on_message({"kind": "hello"})
    settled(view)
    assert sent[-1]["kind"] == "graph" and sent[-1]["defs"] == [] and sent[-1]["gone"] == []
    nodes = (RUN.nodes[0], NodeView(id="c", action="f"))
    view.update(replace(RUN, nodes=nodes, topology=2))
    settled(view)
    assert sent[-1]["defs"] == [{"id": "c", "action": "f"}] and sent[-1]["gone"] == ["b"]
    assert [one["id"] for one in outputs[0].shown[0].defs] == ["a", "c"]


def test_the_nodes_of_a_big_run_come_with_its_graph(outputs, sent, monkeypatch):
    """A run of many nodes does not wait until all of them are described, nor for the picture of its end."""
    monkeypatch.setattr(views, "REST", 0.0)
    run = run_of(*[NodeView(id=f"n{number}", action="f") for number in range(1000)])
    view = LiveView(Controls())
    view.show(run)
    assert outputs[0].shown[0].defs == [] and outputs[0].shown[0].states == {}
    view._on_message({"kind": "hello"})
    settled(view)
    assert len(sent[-1]["defs"]) == 1000 and len(sent[-1]["graph"]["hidden"]["::f@0"]) == 1000
    with view._lock:  # the worker cannot go on before it is given back
        view.finish(lambda: run)
        assert len(outputs[1].shown) == 1
    settled(view)
    assert len(outputs[1].shown) == 2


def test_a_click_folds_the_graph_otherwise(outputs, sent):
    """The page asks for another rule, for an item to be opened or closed, or for a node to be shown."""
    run = replace(RUN, nodes=(*RUN.nodes, NodeView(id="m", action="g", kind="map")))
    items = [NodeView(id=f"m/{number}", action="g", parent="m") for number in range(40)]
    run = replace(run, nodes=(*run.nodes, *items))
    view = LiveView(Controls())
    view.show(run)
    view._on_message({"kind": "hello"})
    settled(view)
    graph = outputs[0].shown[0].graph
    assert list(graph["hidden"]) == ["m"] and len(graph["hidden"]["m"]) == 40

    def ask(**message):
        view._on_message({"kind": "fold", "id": "1", **message})
        settled(view)
        assert {"kind": "done", "id": "1", "error": None} in sent
        sent.clear()

    ask(node="m", open=True)
    assert graph["hidden"] == {} and 'data-node="m/39"' in graph["svg"]
    ask(node="a", open=False)
    assert graph["hidden"] == {"a": ["b"]}
    ask(by="actions")
    assert graph["by"] == "actions" and set(graph["hidden"]) == {"m", "::f"}
    ask(reveal="b")
    assert list(graph["hidden"]) == ["m"]
    ask(by="<nonsense>")
    assert graph["by"] == "actions"
    view.finish(lambda: replace(run, status="completed"))
    settled(view)
    assert (
        'data-node="b"'
        in base64.b64decode(outputs[1].shown[1]["text/html"].split("base64,")[1].split('"')[0]).decode()
    )


def test_outdated_layouts_are_dropped(outputs, sent, monkeypatch):
    """While one layout goes on only the latest topology is kept to be laid out next; updates never wait."""
    begun, go_on, laid_out = threading.Event(), threading.Event(), []

    def slow(drawing):
        laid_out.append(len(drawing.items))
        begun.set()
        assert go_on.wait(10)
        return views_layout(drawing)

    views_layout = views.layout
    monkeypatch.setattr(views, "layout", slow)
    monkeypatch.setattr(views, "REST", 0.0)
    view = LiveView(Controls())
    view.show(RUN)
    view._on_message({"kind": "hello"})
    assert begun.wait(10)
    run = RUN
    for number in range(2, 6):
        nodes = (*run.nodes, NodeView(id=f"n{number}", action="f"))
        run = replace(run, nodes=nodes, topology=number)
        view.update(run)
    go_on.set()
    settled(view)
    assert laid_out == [2, 6]
    assert 'data-node="n5"' in outputs[0].shown[0].graph["svg"]


def test_a_graph_that_cannot_be_drawn_stops_nothing(outputs, sent, monkeypatch, caplog):
    """An error while laying out is logged, once; patches go on, and the next graph is tried."""

    def broken(drawing):
        raise RuntimeError("no")

    works = views.layout
    monkeypatch.setattr(views, "REST", 0.0)
    monkeypatch.setattr(views, "layout", broken)
    view = LiveView(Controls())
    view.show(RUN)
    with caplog.at_level(logging.ERROR):
        view._on_message({"kind": "hello"})
        settled(view)
        view.update(changed("running"))
        assert sent[-1]["states"] == {"a": {"state": "running"}}
        view.update(changed("running", topology=2))
        settled(view)
    assert caplog.text.count("could not be drawn") == 1
    monkeypatch.setattr(views, "layout", works)
    view.update(changed("running", topology=3))
    settled(view)
    assert 'data-node="a"' in outputs[0].shown[0].graph["svg"]


def test_buttons_call_the_controls_and_are_answered(outputs, sent):
    """Each request calls its control with its arguments, and is answered with its id, or with the error."""
    controls = Controls()
    view = LiveView(controls)
    view.show(RUN)
    ask = view._on_message
    ask({"kind": "do", "id": "1", "what": "pause"})
    ask({"kind": "do", "id": "2", "what": "resume"})
    ask({"kind": "do", "id": "3", "what": "cancel"})
    ask({"kind": "do", "id": "4", "what": "retry", "node": "a"})
    ask({"kind": "do", "id": "5", "what": "approve", "branch": "b", "answers": {"x": 1}})
    ask({"kind": "do", "id": "6", "what": "reject", "branch": None})
    assert controls.calls == [
        ("pause", None),
        ("resume", None),
        ("cancel", None),
        ("retry", "a"),
        ("approve", "b", {"x": 1}),
        ("reject", None),
    ]
    assert sent == [{"kind": "done", "id": str(number), "error": None} for number in range(1, 7)]
    controls.error = ValueError("not now")
    ask({"kind": "do", "id": "7", "what": "pause"})
    ask({"kind": "do", "id": "8", "what": "explode"})
    ask({"kind": "nonsense"})
    assert sent[6]["error"] == "ValueError: not now"
    assert "'explode'" in sent[7]["error"] and len(sent) == 8


def test_a_node_that_is_looked_at_is_told(outputs, sent):
    """The details of a node are sent when the page asks; what the controls raise is told in their place."""
    controls = SimpleNamespace(look=lambda node: {"inputs": {"n": node}, "code": "def f(): ..."})
    view = LiveView(controls)
    view.show(RUN)
    view._on_message({"kind": "look", "node": "a"})
    told = {"inputs": {"n": {"kind": "text", "text": "'a'"}}, "attempts": [], "code": "def f(): ..."}
    assert sent == [{"kind": "look", "node": "a", **told}]
    controls.look = lambda node: {}[node]
    view._on_message({"kind": "look", "node": "a"})
    assert sent[1] == {"kind": "look", "node": "a", "problem": "KeyError: 'a'"}


def test_lines_are_sent_together_and_kept_in_bounds(outputs, sent, monkeypatch):
    """Lines in quick succession go in few messages, none is lost, and only the last ones are kept."""
    view = LiveView(Controls())
    view.log("a", "early")
    view.show(RUN)
    for number in range(1500):
        view.log("a", f"line {number}\n")
    settled(view)
    view.update(RUN)
    told = [line for message in sent for line in message["lines"]]
    assert outputs[0].shown[0].logs[-1] == ["a", "line 1499", "stdout"]
    assert len(outputs[0].shown[0].logs) == 1000
    assert len(sent) < 20 and told[-1][1] == "line 1499"


def test_a_line_is_a_line():
    """A text of several lines is several; colours are taken out; a long one is cut."""
    view = LiveView(Controls())
    view.log("a", "one\n\x1b[31mtwo\x1b[0m\n", "stderr")
    view.log("a", "")
    view.log("a", "x" * 9000)
    assert view._lines[:3] == [["a", "one", "stderr"], ["a", "two", "stderr"], ["a", "", "stdout"]]
    assert len(view._lines[3][1]) == views.LOG_TEXT + 2


def test_pieces_of_a_streamed_text_are_one_line(outputs, sent):
    """Tokens go on where the last one of their node ended, also when they were sent apart."""
    view = LiveView(Controls())
    view.show(RUN)
    for token in ("To", " be", " or\nnot"):
        view.log("a", token, "token")
        view.update(RUN)
    view.log("b", "Well", "token")
    view.log("a", " to be", "token")
    settled(view)
    view.update(RUN)
    logs = outputs[0].shown[0].logs
    assert logs == [["a", "To be or\nnot", "token"], ["b", "Well", "token"], ["a", " to be", "token"]]


def test_a_run_that_goes_on_after_its_end_is_followed(outputs, sent):
    """After a pause or a retry updates are sent again, and the picture is written again."""
    view = LiveView(Controls())
    view.show(RUN)
    view.finish(lambda: changed("paused", status="paused"))
    view.update(changed("running"))
    view.finish(lambda: changed("completed", status="completed"))
    assert sent[-1]["states"] == {"a": {"state": "completed"}}
    assert "completed" in outputs[1].shown[2]["text/plain"]


def test_what_comes_before_the_view_is_shown_is_no_error():
    """An engine may tell a view of things before it is displayed."""
    view = LiveView(Controls())
    view.update(RUN)
    view.finish(lambda: RUN)


def test_replies_are_left_to_whichever_shell_is_free():
    """Only where the kernel routes replies by who wrote last is its routing put aside."""
    comm = SimpleNamespace(_reply_subshell_for=lambda data, default: "main")
    free_comm(SimpleNamespace(comm=comm))
    assert comm._reply_subshell_for({}, "subshell-1") == "subshell-1"
    plain = SimpleNamespace()
    free_comm(SimpleNamespace(comm=plain))
    free_comm(SimpleNamespace(comm=None))
    assert not vars(plain)


def test_on_colab_custom_widgets_are_let_in(monkeypatch):
    """Colab shows widgets of others only when asked to, and with metadata that say where their manager is."""
    calls = []
    output = SimpleNamespace(
        enable_custom_widget_manager=lambda: calls.append("enabled"),
        _widgets=SimpleNamespace(_installed_url="https://example.org/manager.js"),
    )
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(output=output))
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    enable_custom_widget_manager_once.cache_clear()
    _, metadata = DagflowWidget(lambda message: None)._repr_mimebundle_()
    enable_custom_widget_manager_once.cache_clear()
    assert calls == ["enabled"] and views.front_end_known()
    (told,) = metadata.values()
    assert told["colab"]["custom_widget_manager"]["url"] == "https://example.org/manager.js"

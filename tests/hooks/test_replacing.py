"""Which definition of a hook replaces which: cells run again, factories, loops, lambdas, classes."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from dagflow_nb.core.messages import NodeFailed
from dagflow_nb.hooks import EventHook, HookSet, make_hook


def _function(event):
    return None


@pytest.fixture
def shell(monkeypatch):
    """A fake IPython whose cell and execution count a test sets."""
    fake = SimpleNamespace(execution_count=1, cell=None)
    fake.get_parent = lambda: {"metadata": {"cellId": fake.cell} if fake.cell else {}}
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: fake))
    return fake


class Notebook:
    """Runs cells that add hooks to a set."""

    def __init__(self, shell: Any = None) -> None:
        self.shell, self.hooks, self.count = shell, HookSet(), 0
        # cells call into the package: what they call has to look as if it were a part of it
        package = {"__name__": "dagflow_nb.somewhere", "hooks": self.hooks, "make_hook": make_hook}
        exec("def add(it, **filters):\n    hooks.add(make_hook(it, **filters))\n    return it", package)
        self.space = {"__name__": "__main__", "add": package["add"], "EventHook": EventHook}

    def run(self, text: str, cell: str | None = None, file: str | None = None) -> list[str]:
        self.count += 1
        if self.shell is not None:
            self.shell.execution_count, self.shell.cell = self.count, cell
        exec(compile(text, file or f"<{text}>", "exec", dont_inherit=True), self.space)
        return [f"{hook.name} {hook.node or ''}".strip() for hook in self.hooks]


@pytest.fixture(params=["script", "cells", "cells with ids"])
def notebook(request):
    """Code that is run in a script's process, and in cells without and with ids."""
    shell = None if request.param == "script" else request.getfixturevalue("shell")
    book = Notebook(shell)
    if request.param == "cells with ids":
        plain = book.run
        book.run = lambda text, cell=None: plain(text, cell or text)
    return book


def test_a_definition_replaces_one_of_the_same_name(notebook):
    """A cell that is run again, or another one that defines the name, leaves one hook."""
    first = "@add\ndef react(node): return 1"
    assert notebook.run(first) == ["react"]
    assert notebook.run(first) == ["react"]
    assert notebook.run("@add\ndef react(event): return 2") == ["react"]
    assert notebook.run("@add\ndef other(event): return 2") == ["react", "other"]


def test_loops_and_factories_add_up_and_do_not_pile_up(notebook):
    """Several of one name by one cell are all kept, and all replaced when it is run again."""
    loop = "for n in 'ab':\n    def react(node): return 1\n    add(react, node=n)"
    assert notebook.run(loop) == ["react a", "react b"]
    assert notebook.run(loop) == ["react a", "react b"]
    factory = "def make(n):\n    def made(node): return n\n    return made\n"
    factory += "add(make(1), node='x')\nadd(make(2), node='y')"
    assert notebook.run(factory)[2:] == ["made x", "made y"]
    assert notebook.run(factory)[2:] == ["made x", "made y"]


def test_two_factories_may_use_one_name(notebook):
    """Functions of the same name from different factories are different hooks."""
    text = (
        "def a():\n    def hook(node): return 1\n    return hook\n"
        "def b():\n    def hook(node): return 2\n    return hook\n"
        "add(a()); add(b())"
    )
    assert notebook.run(text) == ["hook", "hook"]
    assert notebook.run(text) == ["hook", "hook"]


def test_a_factory_of_an_earlier_cell(shell):
    """What a cell made with it is replaced when that cell is run again, what other cells made is kept."""
    book = Notebook(shell)
    book.run("def make():\n    def made(node): return 1\n    return made", "factory")
    assert book.run("add(make(), node='a')", "one") == ["made a"]
    assert book.run("add(make(), node='b'); add(make(), node='c')", "two") == ["made a", "made b", "made c"]
    assert book.run("add(make(), node='d')", "two") == ["made a", "made d"]
    assert book.run("add(make(), node='e')", "one") == ["made d", "made e"]


def test_lambdas_and_throwaway_names(shell):
    """They add up, in one cell and over several; a cell that is run again replaces its own."""
    book = Notebook(shell)
    assert book.run("add(lambda event: 1); add(lambda event: 2)", "one") == ["<lambda>"] * 2
    assert book.run("add(lambda event: 3)\n@add\ndef _(event): pass\n@add\ndef _(node): pass", "two")[2:] == [
        "<lambda>",
        "_",
        "_",
    ]
    assert book.run("add(lambda event: 4, node='new')", "one") == ["<lambda>", "_", "_", "<lambda> new"]


def test_lambdas_in_a_script_add_up():
    """A process without cells is one execution."""
    book = Notebook()
    assert len(book.run("for n in 'abc': add(lambda event: 1)")) == 3


def test_a_terminal_cell_is_known_by_its_text(shell):
    """IPython in a terminal numbers its cells' names; the same text again is the same cell."""
    book = Notebook(shell)
    assert book.run("add(lambda event: 1)", file="<ipython-input-1-abc>") == ["<lambda>"]
    assert book.run("add(lambda event: 1)", file="<ipython-input-2-abc>") == ["<lambda>"]
    assert book.run("add(lambda event: 1)", file="<ipython-input-3-def>") == ["<lambda>"] * 2


def test_classes_replace_like_functions(notebook):
    """Instances of one class add up; those of a class that is defined again replace them."""
    text = "class Planner(EventHook):\n    async def handle(self, ctx, event): pass\n"
    text += "add(Planner(), node='a')\nadd(Planner)"
    assert notebook.run(text) == ["Planner a", "Planner"]
    assert notebook.run(text) == ["Planner a", "Planner"]


def test_the_same_subscription_twice_is_one():
    """Adding the same function with the same filters again changes nothing; other filters add one."""
    hooks = HookSet(
        [make_hook(_function, node="a"), make_hook(_function, node="b"), make_hook(_function, node="a")]
    )
    assert [hook.node for hook in hooks] == ["b", "a"]


def test_a_copy_is_apart():
    """A run keeps the hooks it started with."""
    hook = make_hook(_function)
    hooks = HookSet([hook])
    copy = hooks.copy()
    hooks.discard(hook)
    assert len(hooks) == 0 and hook in copy and hook not in hooks and len(copy) == 1
    assert repr(copy) == "HookSet([<hook _function()>])"
    assert repr(make_hook(_function, kinds=NodeFailed, node="a")) == "<hook _function(NodeFailed, node='a')>"

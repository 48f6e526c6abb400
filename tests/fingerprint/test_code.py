"""Fingerprints of code beyond edits of a cell: modules, files, what cannot be read, what changes in place."""

from __future__ import annotations

import importlib
import linecache
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dagflow_nb import DagFlow, NodeAction, NodeCtx, NodeOutput, Workflow
from dagflow_nb.actions import Action, FunctionAction, make_action
from dagflow_nb.fingerprint import code_of, differences
from tests.fingerprint.cells import Notebook, code


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of one's own on disk, which can be written anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "own_helpers.py"

    def write(text: str, *, load: bool = True) -> types.ModuleType | None:
        path.write_text(text)
        if not load:
            return None
        importlib.invalidate_caches()
        sys.modules.pop("own_helpers", None)
        return importlib.import_module("own_helpers")

    yield write
    sys.modules.pop("own_helpers", None)


CELL = "import own_helpers as h\ndef act(n):\n    return h.clean(n)\n"


def test_of_a_module_of_ones_own_counts_what_is_used(helpers: Any) -> None:
    """An edit of a function that is used from another module of one's own is seen, one of another is not."""
    helpers("LIMIT = 3\ndef clean(n):\n    return n + LIMIT\ndef other(n):\n    return n\n")
    first = code(CELL)
    helpers("LIMIT = 3\ndef clean(n):\n    return n + LIMIT  # so\ndef other(n):\n    return 2 * n\n")
    assert code(CELL).digest == first.digest
    helpers("LIMIT = 4\ndef clean(n):\n    return n + LIMIT\n")
    assert differences(first.parts, code(CELL).parts) == ["global own_helpers.LIMIT: 3 -> 4"]


def test_a_file_that_was_edited_after_its_import_is_not_believed(helpers: Any) -> None:
    """What runs counts, not what the file says by now: the edit is seen once the module is loaded again."""
    helpers("def clean(n):\n    return n + 1\n")
    helpers("def clean(n):\n    return n + 2\n", load=False)
    stale = code(CELL)
    helpers("def clean(n):\n    return n + 2\n")
    assert code(CELL).digest != stale.digest
    again = helpers("def clean(n):\n    return n + 1\n")
    assert again.clean(1) == 2


def test_a_file_that_is_edited_after_its_action_was_added_is_known_as_it_was(helpers: Any) -> None:
    """The source is read when a workflow is added: what runs is told from an edit by what its text said."""
    text = "def clean(n):\n    return n + 1\n"
    digests = []
    for late in (text, "def clean(n):\n    return n + 2\n"):
        own = helpers(text)
        wf = Workflow("w")
        wf.add(own.clean)
        with DagFlow(":memory:", echo=False) as flow:
            flow.add_workflow(wf)
            helpers(late, load=False)
            linecache.clearcache()
            digests.append(code_of(flow._session.registry.need("clean")).digest)
    assert digests[0] == digests[1]


def test_a_package_counts_by_its_version() -> None:
    """What is installed is not followed; its version counts."""
    found = code("import numpy as np\nimport json\ndef act(n):\n    return np.sum(n), json.dumps(n)\n")
    assert found.parts["package numpy"].shown == np.__version__
    assert found.parts["package python"].shown == f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_an_import_inside_of_a_function_counts(helpers: Any) -> None:
    """A module that is imported when the function runs counts as a whole, once it is loaded."""
    cell = "def act(n):\n    import own_helpers\n    return own_helpers.clean(n)\n"
    helpers("def clean(n):\n    return n + 1\n")
    first = code(cell)
    helpers("def clean(n):\n    return n + 2\n")
    assert first.digest != code(cell).digest
    sys.modules.pop("own_helpers")
    assert "own_helpers" in (code(cell).problem or "")


def test_exec_without_source() -> None:
    """A function made by `exec` has no source: its bytecode counts, not its line."""
    text = "def act(n):\n    return n + 1\n"
    assert code(text, source=False).digest == code("\n\n" + text, source=False).digest
    assert code(text, source=False).digest != code(text.replace("1", "2"), source=False).digest


def test_what_is_changed_in_place_is_seen() -> None:
    """Containers, arrays, attributes, defaults and closures that change without a new definition are seen."""
    book = Notebook()
    names = book.run(
        "import numpy as np\nTABLE = {'a': [1]}\nARRAY = np.zeros(3)\nclass C:\n    k = 1\nc = C()\n"
        "def outer():\n    step = 1\n    def inner(n): return n + step\n"
        "    def move():\n        nonlocal step\n        step += 1\n    return inner, move\n"
        "inner, move = outer()\n"
        "def act(n, m=3):\n    return TABLE, ARRAY, C.k, c, inner(n), act.note\nact.note = 1\n"
    )
    action = FunctionAction(names["act"])
    seen = [code_of(action).digest]
    assert code_of(action).digest == seen[0]

    def change(do: Any) -> None:
        do()
        assert code_of(action).digest not in seen
        assert code_of(action).digest == code_of(FunctionAction(names["act"])).digest
        seen.append(code_of(action).digest)

    change(lambda: names["TABLE"]["a"].append(2))
    change(lambda: names["ARRAY"].__setitem__(0, 1.0))
    change(lambda: setattr(names["C"], "k", 2))
    change(lambda: setattr(names["C"], "new", 2))
    change(lambda: setattr(names["c"], "x", 2))
    change(names["move"])
    change(lambda: setattr(names["act"], "note", 2))
    change(lambda: setattr(names["act"], "__defaults__", (4,)))
    change(lambda: names.__setitem__("TABLE", {"a": []}))
    change(lambda: book.run("def inner(n): return -n"))


def test_what_did_not_change_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a change the code is walked once only, however often it is asked for."""
    from dagflow_nb.fingerprint import walk

    names = Notebook().run("LIMIT = 1\ndef helper(n): return n + LIMIT\ndef act(n): return helper(n)\n")
    action, walks = FunctionAction(names["act"]), []
    real = walk.Walk.function
    monkeypatch.setattr(
        walk.Walk, "function", lambda self, fn, **more: walks.append(fn) or real(self, fn, **more)
    )
    for _ in range(5):
        code_of(action)
    assert len(walks) == 2
    names["LIMIT"] = 2
    code_of(action)
    assert len(walks) == 4


@pytest.mark.parametrize(
    ("define", "why"),
    [
        ("import threading\nLOCK = threading.Lock()\ndef act(n):\n    with LOCK: return n\n", "LOCK.*lock"),
        (
            "FILE = open(__import__('os').devnull)\ndef act(n):\n    return FILE.read()\n",
            "FILE.*TextIOWrapper",
        ),
        (
            "NEXT = iter([1]).__next__\nG = (i for i in [1])\ndef act(n):\n    return next(G)\n",
            "G.*generator",
        ),
        (
            "class C:\n    def __reduce_ex__(self, p): raise RuntimeError('no state')\n"
            "c = C()\ndef act(n): return c\n",
            "c.*no state",
        ),
        ("from pydantic import SecretStr\nKEY = SecretStr('x')\ndef act(n): return KEY\n", "KEY.*secret"),
    ],
)
def test_what_cannot_be_read(define: str, why: str) -> None:
    """Code that uses what cannot be read by content is not cacheable; the reason names it."""
    book = Notebook()
    names = book.run(define)
    found = code_of(FunctionAction(names["act"]))
    assert found.problem is not None
    import re

    assert re.search(why, found.problem), found.problem
    if "FILE" in names:
        names["FILE"].close()


def test_classes_of_actions() -> None:
    """An action that is a class counts by its methods and its state."""

    def define(step: int, factor: int) -> Any:
        class Add(NodeAction):
            name = "add"

            def __init__(self, step: int) -> None:
                self.step = step

            async def execute(self, ctx: NodeCtx) -> NodeOutput:
                return NodeOutput.ok({"x": factor * self.step})

        return make_action(Add(step), cache=True).action

    digests = {code_of(define(step, factor)).digest for step in (1, 2) for factor in (1, 2)}
    assert len(digests) == 4
    assert code_of(define(1, 1)).digest == code_of(define(1, 1)).digest


def test_an_action_that_calls_another() -> None:
    """The function of an action that is called by another one counts, its settings do not."""
    text = (
        "from dagflow_nb.actions import make_action\n"
        "def inner(n): return n + 1\ninner = make_action(inner, retries={})\ndef act(n): return inner(n)\n"
    )
    assert isinstance(Notebook().run(text.format(1))["inner"], Action)
    assert code(text.format(1)).digest == code(text.format(2)).digest
    assert code(text.format(1)).digest != code(text.format(1).replace("n + 1", "n + 2")).digest


def test_settings_that_decide_what_comes_out() -> None:
    """The names of outputs count; retries, timeouts and the like do not."""
    text = "def act(n):\n    return n, n\n"
    plain = code(text, name="act", outputs=("a", "b"))
    assert plain.digest == code(text, outputs=("a", "b"), retries=3, timeout=5).digest
    assert plain.digest != code(text, outputs=("b", "a")).digest


def test_methods_partials_and_callables() -> None:
    """Bound methods, partials and objects that are called are actions, too."""
    text = (
        "from functools import partial\n"
        "class C:\n    def __init__(self, k): self.k = k\n    def m(self, n): return n + self.k\n"
        "    def __call__(self, n): return n * self.k\n"
        "act = {}\n"
    )
    for made in ("C({}).m", "partial(C({}).m, 1)", "C({})"):
        one = code(text.format(made.format(1)))
        assert one.problem is None
        assert one.digest == code(text.format(made.format(1))).digest
        assert one.digest != code(text.format(made.format(2))).digest
        edited = text.replace("n + ", "n - ").replace("n * ", "n / ")
        assert one.digest != code(edited.format(made.format(1))).digest


def test_docstrings_count_where_code_asks_for_them() -> None:
    """A docstring is no part of the code, unless some code reads `__doc__`."""
    text = 'def helper():\n    """One."""\ndef act(n):\n    return helper.__doc__\n'
    assert code(text).digest != code(text.replace("One", "Two")).digest


def test_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fingerprints may be made in many threads while names change; one is always made."""
    names = Notebook().run("LIMIT = 1\ndef act(n): return n + LIMIT\n")
    action, found = FunctionAction(names["act"]), []

    def work() -> None:
        for _ in range(200):
            found.append(code_of(action))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(200):
        names["LIMIT"] = i % 2
        names[f"new{i}"] = i
    for thread in threads:
        thread.join()
    assert len({one.digest for one in found}) <= 2 and all(one.problem is None for one in found)


@pytest.mark.parametrize(
    ("before", "edit"),
    [
        (
            "from functools import wraps\ndef own(fn):\n    @wraps(fn)\n    def call(n):\n"
            "        return fn.__annotations__['n'](fn(n))\n    return call\n"
            "@own\ndef helper(n: int): return n\n",
            ("n: int", "n: float"),
        ),
        (
            "from pydantic import validate_call\n@validate_call\ndef helper(n: int): return n\n",
            ("n: int", "n: float"),
        ),
        (
            "from pydantic import validate_call\n@validate_call(validate_return=True)\n"
            "def helper(n: int) -> int: return n\n",
            ("validate_return=True", "validate_return=False"),
        ),
        (
            "from functools import singledispatch\n@singledispatch\ndef helper(n): return 1\n"
            "@helper.register\ndef _(n: int): return 2\n",
            ("return 2", "return 3"),
        ),
    ],
)
def test_decorators_of_packages(before: str, edit: tuple[str, str]) -> None:
    """What well-known decorators make of a function is followed; that it has been called is no change."""
    act = "def act(n): return helper(n)\n"
    book = Notebook()
    names = book.run(before + act)
    action = FunctionAction(names["act"])
    first = code_of(action)
    names["act"](1)
    assert first.problem is None and code_of(action).digest == first.digest == code(before + act).digest
    assert code(before.replace(*edit) + act).digest != first.digest


def test_a_light_look_reads_constants_only() -> None:
    """To tell edits, constants are read; what code keeps in lists of its own, or locks, is not."""
    text = (
        "import threading\nLOCK = threading.Lock()\nSEEN = []\nLIMIT = 1\n"
        "def act(n):\n    return LOCK, SEEN, LIMIT\n"
    )
    names = Notebook().run(text)
    action = FunctionAction(names["act"])
    first = code_of(action, light=True)
    names["SEEN"].append(1)
    assert first.problem is None and code_of(action, light=True).digest == first.digest
    names["LIMIT"] = 2
    assert differences(first.parts, code_of(action, light=True).parts) == ["global LIMIT: 1 -> 2"]

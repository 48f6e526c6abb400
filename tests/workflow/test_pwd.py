"""The Python Workflow Definition: reading it, running it, writing it."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dagflow_nb import DagFlow, NodeExecutionError, ref
from dagflow_nb.core.model import Ref
from dagflow_nb.errors import ValidationError
from dagflow_nb.workflow import REQUIRED, Workflow

SHARED = "python_workflow_definition.shared"
CODE = """
def product_and_quotient(x: float, y: float) -> dict:
    return {"product": x * y, "quotient": x / y}

def total(x, y):
    return x + y
"""


def function(id: int, value: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "value": value}


def entry(id: int, name: str, value: Any) -> dict[str, Any]:
    return {"id": id, "type": "input", "value": value, "name": name}


def output(id: int, name: str = "result") -> dict[str, Any]:
    return {"id": id, "type": "output", "name": name}


def edge(target: int, port: str | None, source: int, key: str | None = None) -> dict[str, Any]:
    return {"target": target, "targetPort": port, "source": source, "sourcePort": key}


def definition(nodes: list[Any], edges: list[Any]) -> dict[str, Any]:
    return {"version": "0.1.0", "nodes": nodes, "edges": edges}


# the product and the quotient of two numbers, added
ARITHMETIC = definition(
    [
        function(0, "workflow.product_and_quotient"),
        function(1, "workflow.total"),
        entry(2, "x", 1),
        entry(3, "y", 2),
        output(4),
    ],
    [
        edge(0, "x", 2),
        edge(0, "y", 3),
        edge(1, "x", 0, "product"),
        edge(1, "y", 0, "quotient"),
        edge(4, None, 1),
    ],
)

# relax, strain into several, compute each, gather: dicts and lists of what others give
CURVE = definition(
    [
        function(0, "workflow.relax"),
        function(1, "workflow.strain"),
        function(2, "workflow.energy"),
        function(3, "workflow.energy"),
        function(4, "workflow.fit"),
        function(5, f"{SHARED}.get_dict"),
        entry(6, "element", "Al"),
        entry(7, "kpts", [3, 3, 3]),
        entry(8, "factors", [0.9, 1.1]),
        function(9, f"{SHARED}.get_dict"),
        function(10, f"{SHARED}.get_dict"),
        function(11, f"{SHARED}.get_list"),
        output(12),
    ],
    [
        edge(5, "element", 6),
        edge(5, "kpts", 7),
        edge(0, "settings", 5),
        edge(1, "size", 0, "size"),
        edge(1, "factors", 8),
        edge(9, "size", 1, "s_0"),
        edge(9, "kpts", 7),
        edge(2, "settings", 9),
        edge(10, "size", 1, "s_1"),
        edge(10, "kpts", 7),
        edge(3, "settings", 10),
        edge(11, "0", 2, "energy"),
        edge(11, "1", 3, "energy"),
        edge(4, "energies", 11),
        edge(12, None, 4),
    ],
)
CURVE_CODE = """
def relax(settings):
    assert settings == {"element": "Al", "kpts": [3, 3, 3]}
    return {"size": 10.0}

def strain(size, factors):
    return {f"s_{i}": size * factor for i, factor in enumerate(factors)}

def energy(settings):
    return {"energy": settings["size"] * sum(settings["kpts"])}

def fit(energies):
    return sum(energies)
"""

# files handed on from step to step, several of them to several
FILES = definition(
    [
        function(0, "workflow.mesh"),
        function(1, "workflow.convert"),
        function(2, "workflow.solve"),
        function(3, "workflow.paper"),
        entry(4, "domain_size", 2.0),
        entry(5, "folder", "source"),
        output(6),
    ],
    [
        edge(0, "domain_size", 4),
        edge(0, "folder", 5),
        edge(1, "file", 0),
        edge(2, "xdmf", 1, "xdmf_file"),
        edge(2, "h5", 1, "h5_file"),
        edge(2, "folder", 5),
        edge(3, "plot", 2),
        edge(3, "size", 4),
        edge(6, None, 3),
    ],
)
FILES_CODE = """
def mesh(domain_size, folder):
    return f"{folder}/mesh-{domain_size}"

def convert(file):
    return {"xdmf_file": file + ".xdmf", "h5_file": file + ".h5"}

def solve(xdmf, h5, folder):
    return [xdmf, h5]

def paper(plot, size):
    return f"{plot} at {size}"
"""


@pytest.fixture
def flow() -> Iterator[DagFlow]:
    with DagFlow(":memory:") as flow:
        yield flow


def write(folder: Path, said: Any, code: str | None = CODE, name: str = "arithmetic") -> Path:
    path = folder / f"{name}.json"
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    if code is not None:
        (folder / "workflow.py").write_text(code)
    return path


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(json.dumps(ARITHMETIC))
    change(said)
    return said


# --- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "code", "result"),
    [
        (ARITHMETIC, CODE, 2.5),
        (CURVE, CURVE_CODE, 180.0),
        (FILES, FILES_CODE, "['source/mesh-2.0.xdmf', 'source/mesh-2.0.h5'] at 2.0"),
    ],
)
def test_a_definition_runs_and_is_written_as_it_was(
    flow: DagFlow, tmp_path: Path, said: dict[str, Any], code: str, result: Any
) -> None:
    """Loaded from its file with the module beside it, run, and written again: node by node the same."""
    wf = Workflow.from_pwd(write(tmp_path, said, code))
    assert flow.run(wf, view=False).result == pytest.approx(result)
    assert wf.to_pwd() == said
    assert wf.to_pwd(tmp_path / "again.json") == json.loads((tmp_path / "again.json").read_text()) == said
    assert Workflow.from_pwd(wf.to_pwd()).nodes == wf.nodes


def test_what_becomes_of_nodes_inputs_and_ports(tmp_path: Path) -> None:
    """Nodes are called as their functions are, inputs have their values as defaults, ports are references."""
    wf = Workflow.from_pwd(str(write(tmp_path, ARITHMETIC)))
    assert wf.name == "arithmetic"
    assert dict(wf.inputs) == {"x": 1, "y": 2}
    assert {id: node.action for id, node in wf.nodes.items()} == {
        "product_and_quotient": "workflow.product_and_quotient",
        "total": "workflow.total",
    }
    parts = Ref("product_and_quotient", ("product",)), Ref("product_and_quotient", ("quotient",))
    assert dict(wf.nodes["total"].inputs) == {"x": parts[0], "y": parts[1]}
    assert wf.result == Ref("total")
    curve = Workflow.from_pwd(CURVE)
    assert list(curve.nodes) == ["relax", "strain", "energy", "energy_2", "fit"]
    assert curve.nodes["fit"].inputs["energies"] == [Ref("energy", ("energy",)), Ref("energy_2", ("energy",))]


def test_inputs_are_given_by_name_and_those_without_a_value_have_to_be(flow: DagFlow, tmp_path: Path) -> None:
    """A value is a default, also null; an input node without one is an input that a run needs."""
    wf = Workflow.from_pwd(write(tmp_path, ARITHMETIC))
    assert flow.run(wf, x=4, view=False).result == 10.0
    wf = Workflow.from_pwd(changed(lambda d: d["nodes"][2].pop("value")))
    assert dict(wf.inputs) == {"x": REQUIRED, "y": 2}
    assert "value" not in wf.to_pwd()["nodes"][2]
    assert Workflow.from_pwd(changed(lambda d: d["nodes"][2].update(value=None))).inputs["x"] is None


def test_the_module_is_imported_when_a_run_starts(flow: DagFlow, tmp_path: Path) -> None:
    """Without it a definition is loaded, drawn and previewed; a run says what is missing, and runs once it is
    there; what is loaded again is imported again."""
    path = write(tmp_path, ARITHMETIC, code=None)
    wf = flow.add_workflow(Workflow.from_pwd(path))
    assert "product_and_quotient" in flow.graph(wf).svg
    assert "product_and_quotient" in wf.to_mermaid()
    assert list(flow.preview(wf)["reason"]) == ["new", "new"]
    with pytest.raises(ValidationError) as caught:
        flow.run(wf, view=False)
    for part in (
        str(path),
        "'workflow'",
        "workflow.py",
        "workflow.product_and_quotient",
        "module=",
        str(tmp_path),
    ):
        assert part in str(caught.value), part
    assert caught.value.file == str(path) and caught.value.culprit == "workflow.product_and_quotient"
    assert len(flow.runs()) == 0
    (tmp_path / "workflow.py").write_text(CODE)
    assert flow.run(wf, view=False).result == 2.5
    (tmp_path / "workflow.py").write_text(CODE.replace("x + y", "x - y"))
    assert flow.run(wf, view=False).result == 2.5
    again = flow.add_workflow(Workflow.from_pwd(path))
    assert list(flow.preview(again)["reason"]) == ["not cacheable", "upstream runs"]
    assert flow.run(again, view=False).result == 1.5
    assert list(flow.preview(wf)["reason"]) == ["not cacheable", "upstream runs"]


def test_two_definitions_may_both_have_a_workflow_py(flow: DagFlow, tmp_path: Path) -> None:
    """Each runs the functions of its own file, in turns, whatever is called `workflow` elsewhere."""
    made = []
    for name, code in (("plus", CODE), ("minus", CODE.replace("x + y", "x - y"))):
        (tmp_path / name).mkdir()
        made.append(Workflow.from_pwd(write(tmp_path / name, ARITHMETIC, code, name)))
    results = [flow.run(wf, view=False).result for wf in (*made, *made)]
    assert results == [2.5, 1.5, 2.5, 1.5]


@pytest.mark.parametrize("given", ["module", "name", "path"])
def test_module_says_where_the_functions_are(
    flow: DagFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """A module, the name of one, or a Python file; what it does not have is a library's."""
    (tmp_path / "elsewhere_pwd.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    module: Any = {
        "module": importlib.import_module("elsewhere_pwd"),
        "name": "elsewhere_pwd",
        "path": tmp_path / "elsewhere_pwd.py",
    }[given]
    wf = Workflow.from_pwd(ARITHMETIC, module)
    assert flow.run(wf, view=False).result == 2.5
    wf = Workflow.from_pwd(changed(lambda d: d["nodes"][1].update(value="operator.add")), module=module)
    with pytest.raises(ValidationError, match=r"operator\.add"):
        flow.run(wf, view=False)  # its parameters are called a and b
    root = Workflow.from_pwd(
        definition([function(0, "math.sqrt"), entry(1, "x", 9)], [edge(0, "x", 1)]), module=module
    )
    assert flow.run(root, view=False).result == 3.0


def test_a_file_may_import_what_lies_beside_it(flow: DagFlow, tmp_path: Path) -> None:
    """Its folder is searched while it is imported, and not afterwards."""
    (tmp_path / "pwd_sibling.py").write_text("TWO = 2\n")
    wf = Workflow.from_pwd(
        write(tmp_path, ARITHMETIC, "from pwd_sibling import TWO\n" + CODE.replace("x + y", "x + TWO"))
    )
    before = list(sys.path)
    assert flow.run(wf, view=False).result == 4
    assert sys.path == before


def test_functions_run_in_worker_processes(flow: DagFlow, tmp_path: Path) -> None:
    """A file that no other process can import by name is sent along."""
    wf = Workflow.from_pwd(write(tmp_path, ARITHMETIC))
    assert flow.run(wf, view=False, executor="process").result == 2.5


def test_a_run_is_taken_up_again_with_the_definition_loaded_anew(tmp_path: Path) -> None:
    """In another session the functions are found again; finished nodes do not run again."""
    code = CODE.replace("return x + y", "if not FLAG.exists(): raise OSError('no flag')\n    return x + y")
    code = f"from pathlib import Path\nFLAG = Path({str(tmp_path / 'flag')!r})\n" + code
    path = write(tmp_path, ARITHMETIC, code)
    with DagFlow(tmp_path / "a.db") as flow, pytest.raises(NodeExecutionError, match="no flag"):
        flow.run(Workflow.from_pwd(path), view=False)
    (tmp_path / "flag").touch()
    with DagFlow(tmp_path / "a.db") as flow:
        flow.add_workflow(Workflow.from_pwd(path))
        run = flow.resume(view=False)
        assert run.result == 2.5
        assert list(run.nodes()["attempts"]) == [1, 2]


def test_an_action_of_a_definition_may_be_named_by_a_hook(flow: DagFlow, tmp_path: Path) -> None:
    """Growth with a function that no run has asked for yet looks for it then."""
    flow.add_workflow(Workflow.from_pwd(write(tmp_path, ARITHMETIC)))

    @flow.action
    def begin() -> int:
        return 1

    @flow.on_completed(action="begin")
    def more() -> Any:
        from dagflow_nb import NodeSpec

        return NodeSpec("workflow.total", id="sum", inputs={"x": ref("begin"), "y": 4})

    wf = Workflow("w")
    wf.add(begin)
    assert flow.run(wf, view=False).outputs["sum"]["result"] == 5


@pytest.mark.parametrize(
    ("outputs", "result"),
    [
        (["result"], 2.5),
        (["sum"], 2.5),
        (["sum", "parts"], {"sum": 2.5, "parts": {"product": 2, "quotient": 0.5}}),
        ([], 2.5),
    ],
)
def test_output_nodes_are_the_result(flow: DagFlow, tmp_path: Path, outputs: list[str], result: Any) -> None:
    """One gives its value, several a dict by their names, none what the last node gives; all come back."""
    nodes = ARITHMETIC["nodes"][:4] + [output(4 + i, name) for i, name in enumerate(outputs)]
    edges = ARITHMETIC["edges"][:4] + [edge(4 + i, None, 1 - i) for i in range(len(outputs))]
    wf = Workflow.from_pwd(write(tmp_path, definition(nodes, edges)))
    assert flow.run(wf, view=False).result == result
    if outputs:
        assert wf.to_pwd() == definition(nodes, edges)


def test_helpers_that_are_shared_stay_nodes(flow: DagFlow, tmp_path: Path) -> None:
    """A `get_dict` that several take, or of which one key is taken, is no part of an input; it runs without
    the format's own package, and comes back as it was."""
    nodes = [
        function(0, f"{SHARED}.get_dict"),
        function(1, "workflow.total"),
        function(2, f"{SHARED}.get_list"),
        entry(3, "x", 1),
        entry(4, "y", 2),
        output(5),
    ]
    edges = [edge(0, "a", 3), edge(0, "b", 4), edge(1, "x", 0, "a"), edge(1, "y", 4), edge(2, "0", 0)]
    said = definition(nodes, [*edges, edge(2, "1", 1), edge(5, None, 2)])
    wf = Workflow.from_pwd(write(tmp_path, said))
    assert list(wf.nodes) == ["get_dict", "total"]
    assert flow.run(wf, view=False).result == [{"a": 1, "b": 2}, 3]
    assert Workflow.from_pwd(wf.to_pwd()).nodes == wf.nodes


def test_definitions_of_earlier_versions_load(flow: DagFlow, tmp_path: Path) -> None:
    """Without a version and without output nodes, as the first published examples were."""
    said = {"nodes": ARITHMETIC["nodes"][:4], "edges": ARITHMETIC["edges"][:4]}
    assert flow.run(Workflow.from_pwd(write(tmp_path, said)), view=False).result == 2.5


@pytest.mark.parametrize(
    ("version", "known"), [("0.1.7", True), ("0.1", True), ("9.0.0", False), ("0.10", False)]
)
def test_a_version_that_is_not_known_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str, known: bool
) -> None:
    """It is read all the same, as far as it can be, and the log names file and version."""
    Workflow.from_pwd(write(tmp_path, {**ARITHMETIC, "version": version}))
    told = "\n".join(caplog.messages)
    assert told == "" if known else f"version '{version}'" in told and ".json: " in told


MISTAKES: list[tuple[Any, str]] = [
    ("{", "line|:1: this is no JSON"),
    ("[]", "an object with nodes and edges"),
    ('{"nodes": [], "nodes": []}', "'nodes' is there twice"),
    (lambda d: d.pop("nodes"), "list of nodes, which is missing"),
    (lambda d: d.update(edges={}), "edges is a list"),
    (lambda d: d.update(version=1), "version is a text"),
    (lambda d: d["nodes"].append(7), r"nodes\[5\] is an object"),
    (lambda d: d["nodes"][0].update(id="0"), r"nodes\[0\] has an id that is a whole number"),
    (lambda d: d["nodes"][1].update(id=0), "two nodes have the id 0"),
    (lambda d: d["nodes"][1].pop("type"), "node 1 has the type None.*one of input, function"),
    (lambda d: d["nodes"][1].update(type="functoin"), "node 1 has the type 'functoin'.*mean 'function'"),
    (lambda d: d["nodes"][1].update(type="workflow"), "node 1 .*loaded by itself"),
    (lambda d: d["nodes"][1].update(value="total"), "function node 1 has a value 'module.function'"),
    (lambda d: d["nodes"][1].update(value=".total"), "function node 1"),
    (lambda d: d["nodes"][2].pop("name"), "input node 2 has a name"),
    (lambda d: d["nodes"][3].update(name="x"), "input nodes 2 and 3 are both called 'x'"),
    (lambda d: d["edges"].append(3), r"edges\[5\] is an object"),
    (lambda d: d["edges"][0].update(sourceport="a"), r"edges\[0\] has a key 'sourceport'.*'sourcePort'"),
    (lambda d: d["edges"][2].update(source=9), r"edges\[2\] has a source .* not 9: there are 0, 1, 2, 3, 4"),
    (lambda d: d["edges"][2].update(target=True), r"edges\[2\] has a target"),
    (lambda d: d["edges"][2].update(source=4), r"edges\[2\] begins at output node 4 \(result\)"),
    (lambda d: d["edges"][2].update(target=2), r"edges\[2\] ends at input node 2 \(x\)"),
    (lambda d: d["edges"][2].update(targetPort=None), r"edges\[2\] has a targetPort .* function node 1"),
    (lambda d: d["edges"][2].update(sourcePort=0), r"edges\[2\] has a sourcePort that is a text or null"),
    (lambda d: d["edges"][2].update(sourcePort="__result__"), r"edges\[2\].*write null"),
    (lambda d: d["edges"][3].update(targetPort="x"), "edge 2 .* and edge 3 .* port 'x' of function node 1"),
    (lambda d: d["edges"].append(edge(4, None, 0)), "edge 4 .* and edge 5 .* lead into output node 4"),
    (lambda d: d["edges"].pop(), "no edge leads into output node 4"),
    (lambda d: d["edges"][0].update(source=1), "cycle: .*total.*product_and_quotient"),
]


@pytest.mark.parametrize(("mistake", "text"), MISTAKES)
def test_a_mistake_names_file_node_or_edge_and_the_way_out(tmp_path: Path, mistake: Any, text: str) -> None:
    """Whatever is wrong in a file is a `ValidationError`; nothing of it is loaded."""
    said = mistake if isinstance(mistake, str) else changed(mistake)
    path = write(tmp_path, said)
    with pytest.raises(ValidationError, match=f"(?s){text}") as caught:
        Workflow.from_pwd(path)
    assert str(path) in str(caught.value) and caught.value.file == str(path)
    assert caught.value.culprit is not None
    if not isinstance(mistake, str):
        with pytest.raises(ValidationError, match=text):
            Workflow.from_pwd(said)


def test_nodes_that_only_gather_each_other_are_refused() -> None:
    """Helpers in a circle lead nowhere; those that are nested too deeply are no bomb."""
    nodes = [function(0, f"{SHARED}.get_dict"), function(1, f"{SHARED}.get_list")]
    with pytest.raises(ValidationError, match=r"get_dict\) and function node 1 .* lead only into each other"):
        Workflow.from_pwd(definition(nodes, [edge(0, "a", 1), edge(1, "0", 0)]))
    many = [function(i, f"{SHARED}.get_list") for i in range(200)]
    edges = [edge(i + 1, "0", i) for i in range(199)] + [edge(0, "0", 200), edge(201, None, 199)]
    with pytest.raises(ValidationError, match="nested more than 100"):
        Workflow.from_pwd(definition([*many, entry(200, "x", 1), output(201)], edges))


def test_files_and_modules_that_are_none(flow: DagFlow, tmp_path: Path) -> None:
    """Missing files, texts in place of paths, modules of another kind, missing functions, broken imports."""
    path = write(tmp_path, ARITHMETIC)
    with pytest.raises(FileNotFoundError, match=r"arithmetic\.json"):
        Workflow.from_pwd(tmp_path / "arithmetik.json")
    with pytest.raises(ValidationError, match=r"json\.loads"):
        Workflow.from_pwd(json.dumps(ARITHMETIC, indent=1))
    with pytest.raises(ValidationError, match="module is a module"):
        Workflow.from_pwd(path, module=3)
    for module, text in (
        ("no_such_module", "no module 'no_such_module'"),
        ("no/such.py", "no file .*such.py"),
    ):
        with pytest.raises(ValidationError, match=text):
            flow.run(Workflow.from_pwd(path, module), view=False)
    with pytest.raises(ValidationError, match="no module 'workflow' for its function"):
        flow.run(Workflow.from_pwd(ARITHMETIC), view=False)
    for code, text in (
        (
            CODE.replace("def total", "def totl"),
            r"workflow\.py' has no function 'total'.*mean 'totl'",
        ),
        (CODE + "total = 3", "has no function 'total'"),
        ("import no_such_module", r"importing .*workflow\.py.* line 1: ModuleNotFoundError"),
        ("x = 1\n1 / 0", r"importing .*workflow\.py, line 2: ZeroDivisionError"),
        ("def (", r"workflow\.py, line 1: SyntaxError"),
    ):
        (tmp_path / "workflow.py").write_text(code)
        with pytest.raises(ValidationError, match=text) as caught:
            flow.run(Workflow.from_pwd(path), view=False)
        assert caught.value.file == str(path)
    (tmp_path / "workflow.py").write_text(CODE)
    with pytest.raises(ValidationError, match="'z'"):
        said = changed(lambda d: d["edges"][3].update(targetPort="z"))
        flow.run(Workflow.from_pwd(write(tmp_path, said)), view=False)


# --- writing ---------------------------------------------------------------------------------------


def add(x: float, y: float = 1) -> float:
    return x + y


def both(x: float) -> dict[str, float]:
    return {"half": x / 2, "twice": 2 * x}


def pair(x: float) -> tuple[float, float]:
    return x, x


def count(items: Any) -> int:
    return len(items)


def anything(x):  # type: ignore[no-untyped-def]  # so that nobody knows what it returns
    return x


def closed_over(plus: float = 1.0) -> Callable[[float], float]:
    def inside(x: float) -> float:
        return x + plus

    return inside


async def later(x: float) -> float:
    return x


def with_ctx(x: float, ctx: Any) -> float:
    return x


def same_result(flow: DagFlow, wf: Workflow, **inputs: Any) -> dict[str, Any]:
    """The definition of a workflow, which gives the same as the workflow itself, and is written the same."""
    said = wf.to_pwd()
    again = Workflow.from_pwd(json.loads(json.dumps(said)))
    assert again.to_pwd() == said
    assert flow.run(again, inputs, view=False).result == flow.run(wf, inputs, view=False).result
    return said


def test_values_in_nodes_become_input_nodes(flow: DagFlow) -> None:
    """Named by their parameters, numbered where two have one name; lists and dicts of references gathered."""
    wf = Workflow("w", inputs={"x": 1.5})
    first = wf.add(add, x=wf.input("x"), y=2)
    second = wf.add(add, id="second", x=first, y=3)
    wf.add(count, items=[first, {"deep": [second, 4]}, None])
    said = same_result(flow, wf, x=2.5)
    names = {node["name"]: node.get("value") for node in said["nodes"] if node["type"] == "input"}
    assert names == {"x": 1.5, "y_0": 2, "y_1": 3, "deep": 4, "items": None}
    assert [n["value"] for n in said["nodes"] if n["type"] == "function"][:2] == [f"{__name__}.add"] * 2
    assert said["version"] == "0.1.0"


def test_results_of_every_shape(flow: DagFlow) -> None:
    """A reference, a dict, a list, a constant, and what the leaves return where none is named."""
    results: list[Callable[[Any, Any], Any]] = [
        lambda a, b: b["half"],
        lambda a, b: {"a": a, "b": [b]},
        lambda a, b: a["result"],
        lambda a, b: 3,
        lambda a, b: None,
    ]
    for result in results:
        wf = Workflow("w")
        a, b = wf.add(add, x=1), wf.add(both, x=4)
        wf.result = result(a, b)
        same_result(flow, wf)


def test_sub_workflows_are_put_in_place_and_maps_written_out(flow: DagFlow) -> None:
    """Both give what they gave: groups as a whole and by key, maps as lists, by key, and one item."""
    deepest = Workflow("deepest", inputs={"n": 5})
    deepest.result = deepest.add(add, x=deepest.input("n"))
    inner = Workflow("inner", inputs=["x"])
    halves = inner.add(both, x=inner.input("x"))
    inner.result = {"half": halves["half"], "all": [halves, inner.add(deepest, n=halves["twice"])]}
    wf = Workflow("w", inputs={"start": 4})
    part = wf.add(inner, x=wf.input("start"))
    many = wf.map(both, over={"x": [part["half"], 10, 20]})
    rows = wf.map(add, over=[{"x": 1, "y": 2}, {"x": 3}], id="rows")
    wf.result = {
        "all": part,
        "list": part["all"],
        "keys": many["half"],
        "items": many,
        "one": ref("rows.1"),
        "rows": rows,
    }
    said = same_result(flow, wf, start=6)
    assert sum(node["value"].endswith(".both") for node in said["nodes"] if node["type"] == "function") == 4


def test_dependencies_that_values_imply_may_be_named(flow: DagFlow) -> None:
    """`after=` a node whose value is needed anyway, also by way of others, says nothing more."""
    wf = Workflow("w")
    first = wf.add(add, x=1)
    second = wf.add(add, x=first)
    wf.add(add, x=second, after=[first, second])
    same_result(flow, wf)


def refused(change: Callable[[Workflow, Any], Any]) -> Workflow:
    wf = Workflow("w", inputs=["x"])
    change(wf, wf.add(add, id="first", x=1))
    return wf


def _branch(wf: Workflow, first: Any) -> None:
    wf.branch(first, then=wf.add(add, id="second", x=2), id="choice")


def _map_of_workflow(wf: Workflow, first: Any) -> None:
    inner = Workflow("inner", inputs=["x"])
    inner.add(add, x=inner.input("x"))
    wf.map(inner, over={"x": [1, 2]}, id="second")


REFUSED: list[tuple[Callable[[Workflow, Any], Any], str]] = [
    (lambda wf, a: wf.add(add, id="second", x=2, timeout=3), "'second' has timeout=3.0"),
    (lambda wf, a: wf.add(add, id="second", x=2, try_count=3), "'second' has try_count=3.*on the action"),
    (lambda wf, a: wf.add(add, id="second", x=2, on_failure="stop"), "'second' has on_failure='stop'"),
    (lambda wf, a: wf.add(add, id="second", x=2, failure="mend"), "'second' has failure='mend'"),
    (lambda wf, a: wf.add(add, id="second", x=2, cache=True), "'second' has cache=True"),
    (lambda wf, a: wf.add(add, id="second", x=2, executor="process"), "'second' has executor="),
    (lambda wf, a: wf.add(add, id="second", x=2, ask=True), "'second' has ask="),
    (lambda wf, a: wf.add(add, id="second", x=a, when="all_done"), "'second' has when='all_done'"),
    (lambda wf, a: wf.add(add, id="second", x=2, after=a), "'second' only waits for 'first'"),
    (lambda wf, a: wf.map(add, over={"x": [1]}, limit=1, id="second"), "'second' has limit=1"),
    (lambda wf, a: wf.map(add, over={"x": wf.input("x")}, id="second"), "'second' is a map whose items"),
    (lambda wf, a: wf.map(add, over=[{"x": 1}, ref("first")], id="second"), "'second' is a map whose items"),
    (_map_of_workflow, "'second' is a map over a workflow"),
    (_branch, "'choice' is a branch"),
    (lambda wf, a: wf.describe(wf.add(add, id="second", x=a), defaults={"x": 3}), "'second' has a default"),
    (lambda wf, a: wf.add(later, id="second", x=2), "'second' runs 'later', which is an async def"),
    (lambda wf, a: wf.add(with_ctx, id="second", x=2), "'second' runs 'with_ctx', which takes ctx"),
    (
        lambda wf, a: wf.add(closed_over(), id="second", x=2),
        "'second' runs 'inside', which is no function of",
    ),
    (
        lambda wf, a: wf.add(anything, id="second", x=wf.add(anything, x=1)["result"]),
        "'second' takes 'result' of .*-> dict",
    ),
    (lambda wf, a: wf.add("named", id="second", x=2), "'second' runs 'named'.*'module.function'"),
    (lambda wf, a: wf.add(add, id="second", x=(1, 2)), "input 'x' of node 'second'.*write a list"),
    (lambda wf, a: wf.add(add, id="second", x=(a, 2)), "input 'x' of node 'second' is a tuple"),
    (lambda wf, a: wf.add(add, id="second", x=Decimal(1)), "input 'x' of node 'second' is Decimal"),
    (lambda wf, a: wf.add(add, id="second", x=math.nan), "input 'x' of node 'second' is nan"),
    (lambda wf, a: wf.add(add, id="second", x={1: a}), "input 'x' of node 'second' has the key 1"),
    (
        lambda wf, a: wf.add(add, id="second", x=a["k"]["d"]),
        "input 'x' of node 'second' is 'first.k.d'",
    ),
    (
        lambda wf, a: wf.add(add, id="second", x=[ref("first.0")]),
        "input 'x' of node 'second', at '0', is 'first.0'",
    ),
]


@pytest.mark.parametrize(("change", "text"), REFUSED)
def test_what_a_definition_cannot_say_is_refused(
    change: Callable[..., Any], text: str, tmp_path: Path
) -> None:
    """The error names node and setting or input, and the way out; no file is written."""
    with pytest.raises(ValidationError, match=text) as caught:
        refused(change).to_pwd(tmp_path / "w.json")
    assert caught.value.culprit in ("second", "choice")
    assert not (tmp_path / "w.json").exists()


def test_more_that_is_refused(flow: DagFlow) -> None:
    """The workflow's config, defaults that are no JSON, sub-workflows by name, results taken by position."""
    wf = Workflow("w", config={"max_attempts": 2})
    with pytest.raises(ValidationError, match=r"max_attempts to flow\.run\(config="):
        wf.to_pwd()
    wf = Workflow("w", inputs={"x": Path("a")})
    with pytest.raises(ValidationError, match="the default of input 'x'"):
        wf.to_pwd()
    wf = Workflow("w")
    wf.add(Workflow("inner"))
    wf.workflows.clear()
    with pytest.raises(ValidationError, match="sub-workflow 'inner'"):
        wf.to_pwd()
    wf = Workflow("w")
    made = wf.add(flow.action(outputs=("a", "b"))(pair), id="pair", x=1)
    wf.result = made
    assert wf.to_pwd()["nodes"][0]["value"] == f"{__name__}.pair"
    wf.add(add, id="second", x=made["a"])
    with pytest.raises(
        ValidationError, match=r"input 'x' of node 'second' takes 'a' of node 'pair'.*outputs="
    ):
        wf.to_pwd()


def test_a_function_inside_of_another_is_written_by_its_name(flow: DagFlow, tmp_path: Path) -> None:
    """Also a decorated one; where it is then, `module=` says."""

    @flow.action
    def thrice(x: float) -> float:
        return 3 * x

    wf = Workflow("w", inputs={"x": 2.0})
    wf.add(thrice, x=wf.input("x"))
    said = wf.to_pwd()
    assert said["nodes"][0]["value"] == f"{__name__}.thrice"
    (tmp_path / "there.py").write_text("def thrice(x):\n    return 3 * x\n")
    again = Workflow.from_pwd(said, module=tmp_path / "there.py")
    assert flow.run(again, view=False).result == flow.run(wf, view=False).result == 6.0


def test_descriptions_and_tags_are_not_written() -> None:
    """What only describes is left out, and refuses nothing."""
    wf = Workflow("w", description="d", author="a", version="7", tags=["t"])
    wf.describe(wf.add(add, x=1, tags=["t"]), description="d", instructions="i", outputs=["a"])
    assert wf.to_pwd()["version"] == "0.1.0"
    assert wf.to_pwd()["nodes"][0] == {"id": 0, "type": "function", "value": f"{__name__}.add"}


def test_a_definition_goes_through_yaml_and_python(flow: DagFlow, tmp_path: Path) -> None:
    """Written as YAML or as a script and read again, it is still the same definition."""
    wf = flow.add_workflow(Workflow.from_pwd(write(tmp_path, CURVE, CURVE_CODE)))
    text = flow.to_yaml("arithmetic")
    assert flow.load_yaml_string(text).to_pwd() == CURVE
    script: dict[str, Any] = {}
    exec(wf.to_python(), script)
    assert script["wf"] == wf and script["wf"].to_pwd() == CURVE


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    """Workflows of functions, values, references, lists and dicts."""
    wf = Workflow("w", inputs={"a": 1, "b": REQUIRED})
    known: list[Any] = [wf.input("a"), wf.input("b")]
    leaf = st.one_of(st.none(), st.integers(-9, 9), st.text("xy", max_size=2), st.sampled_from(known))
    for number in range(draw(st.integers(1, 6))):
        there = st.one_of(leaf, st.sampled_from(list(known)))
        value = st.recursive(
            there,
            lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text("kl", min_size=1), v, max_size=3),
        )
        node = wf.add(
            count, id=f"n{number}", items=draw(value), **draw(st.fixed_dictionaries({"more": value}))
        )
        known += [node, node["key"]]
    wf.result = draw(st.none() | st.sampled_from(known) | st.lists(st.sampled_from(known), max_size=3))
    return wf


@settings(deadline=None, max_examples=12)
@given(workflows())
def test_what_is_written_is_read_as_the_same(wf: Workflow) -> None:
    """Reading and writing again gives the same definition, and the same nodes but for values in them."""
    said = json.loads(json.dumps(wf.to_pwd()))
    again = Workflow.from_pwd(said)
    assert again.to_pwd() == said
    assert len(again.nodes) == len(wf.nodes)
    assert Workflow.from_pwd(again.to_pwd()).nodes == again.nodes


def test_the_documentation_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of its page run as they stand, and give what they say."""
    page = (Path(__file__).parents[2] / "notebooks" / "interchange.md").read_text()
    first, second = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, Any] = {}
    exec(first, names)
    with names["flow"] as flow:
        assert list(flow.runs().sort_values("started_at")["inputs.x"]) == [1, 4]
        assert flow.get().result == 10.0
    assert json.loads(Path("again.json").read_text()) == json.loads(Path("arithmetic.json").read_text())
    exec(second, names)
    sys.modules.pop("workflow")
    with DagFlow(":memory:") as flow:
        assert flow.run(Workflow.from_pwd("mine.json"), view=False).result == [0.0, 6.0, 8.0]

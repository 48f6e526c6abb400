"""The parts under the scheduler: graph, slots, limits, delays, the table of states."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dagflow_nb.core import messages as m
from dagflow_nb.core.budget import Limit, Usage, parse_rate
from dagflow_nb.core.graph import Graph, can_hold, find_cycle
from dagflow_nb.core.model import (
    SUCCESS_STATES,
    Extended,
    NodeDef,
    NodeOutput,
    NodeRef,
    NodeSpec,
    NodeStatus as S,
    Ref,
    When,
    iter_refs,
    make_ref,
    map_refs,
    ref,
    success_of,
    with_edges,
)
from dagflow_nb.core.retry import RetryStrategy
from dagflow_nb.core.transitions import TRANSITIONS, to_dot, to_mermaid
from dagflow_nb.errors import CycleError, DependencyNotFound, NodeAlreadyExists, ValidationError
from tests.core.driver import OK, Driver, node


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=25), st.randoms())
def test_any_static_graph_runs_each_node_once_in_order(edges: list[list[int]], random: object) -> None:
    """Whatever the graph and the order of its definitions: one start each, dependencies first."""
    specs = [node(f"n{i}", *{f"n{k % i}" for k in deps} if i else ()) for i, deps in enumerate(edges)]
    order = list(specs)
    random.shuffle(order)  # type: ignore[attr-defined]  # Hypothesis' Random
    d = Driver(*order, pools={"async": 2}).run()
    started = [id for id, _ in d.starts]
    assert sorted(started) == sorted(spec.id for spec in specs)
    assert all(started.index(dep) < started.index(spec.id) for spec in specs for dep in spec.deps)
    assert d.s.status == "completed"


def test_batches_are_checked_whole() -> None:
    """Cycles are named in reading order, unknown dependencies and taken ids too; nothing is added."""
    graph = Graph("dag")
    graph.add(graph.check([node("a")]))
    with pytest.raises(CycleError) as cycle:
        graph.check([node("x", "z"), node("y", "x"), node("z", "y")])
    assert cycle.value.cycle in (["x", "y", "z", "x"], ["y", "z", "x", "y"], ["z", "x", "y", "z"])
    with pytest.raises(DependencyNotFound) as missing:
        graph.check([node("x", "nobody")])
    assert (missing.value.node_id, missing.value.dependency) == ("x", "nobody")
    with pytest.raises(NodeAlreadyExists):
        graph.check([node("a", timeout=3)])
    for bad in ("", " x", "human_input", "x" * 201, "a\nb"):
        with pytest.raises(ValidationError):
            graph.check([node(bad)])
    assert graph.check([node("a")]) == [] and list(graph.nodes) == ["a"]


def test_cycles_are_found_in_long_chains_without_recursion() -> None:
    """A chain of 5,000 nodes is no problem, nor is a cycle at its end."""
    deps = {f"n{i}": [f"n{i + 1}"] for i in range(5000)}
    deps["n5000"] = []
    assert find_cycle(deps) is None
    deps["n5000"] = ["n4999"]
    assert set(find_cycle(deps) or ()) == {"n4999", "n5000"}


def test_branches_hold_each_node_once() -> None:
    """A branch is a node with its descendants; a group's children belong to it."""
    graph = Graph("dag")
    group = [node("g", "c", kind="workflow"), node("g/x", parent="g")]
    graph.add([node("a"), node("b", "a"), node("c", "a", "b"), *group])
    assert sorted(n.id for n in graph.branch("b")) == ["b", "c", "g", "g/x"]
    order = [n.id for n in graph.in_order()]
    assert order == ["a", "b", "c", "g", "g/x"]


@pytest.mark.parametrize(
    ("rule", "one", "both"),
    [
        ("all_success", False, False),
        ("all_done", True, True),
        ("one_success", True, False),
        ("any_failed", True, False),
    ],
)
def test_a_join_of_a_cancelled_branch(rule: str, one: bool, both: bool) -> None:
    """Whether its rule can still hold depends on how much is cut off."""
    graph = Graph("dag")
    a, b, j = graph.add([node("a"), node("b"), node("j", "a", "b", when=When(rule))])
    assert can_hold(j, graph.nodes)
    a.cut = True
    assert can_hold(j, graph.nodes) is one
    b.cut = True
    assert can_hold(j, graph.nodes) is both


def test_delays_of_numpy_are_plain_numbers() -> None:
    """What comes out of an array is stored as any number is."""
    strategy = RetryStrategy.linear(np.int64(2))
    assert strategy == RetryStrategy.linear(2) and type(strategy.initial_delay) is float


def test_delays() -> None:
    """Exponential, linear, immediate; jitter spreads to both sides; big numbers stay finite."""
    exponential = RetryStrategy.exponential(1, 10, 3, jitter=0.5)
    assert [exponential.delay(n, 0.5) for n in (1, 2, 3, 4, 9999)] == [1, 3, 9, 10, 10]
    assert exponential.delay(1, 0.0) == 0.5 and exponential.delay(1, 0.999) == pytest.approx(1.499)
    assert RetryStrategy.linear(5).delay(7) == 5 and RetryStrategy.immediate().delay(3) == 0
    nan = float("nan")
    for bad in ({"initial_delay": -1}, {"kind": "odd"}, {"jitter": 2}, {"max_delay": nan}, {"multiplier": 0}):
        with pytest.raises(ValidationError):
            RetryStrategy(**bad)  # type: ignore[arg-type]  # wrong on purpose


def test_rates_are_sliding_windows() -> None:
    """A start is free again exactly when `next_free` says, whatever the rounding."""
    limit = Limit.of("1/min")
    at = 0.1
    for _ in range(50):
        assert limit.free(at)
        limit.starts.append(at)
        after = limit.next_free()
        assert after is not None and not limit.free(at) and not limit.free(after - 1e-3)
        at = after
    assert parse_rate("7 / h") == (7, 3600.0)
    for bad in ("7", "0/s", "x/min", "5/day"):
        with pytest.raises(ValueError, match="a rate is written like"):
            parse_rate(bad)


def test_budgets() -> None:
    """Counts may reach their limit, amounts are used up when they do; None is never used up."""
    assert Usage(max_nodes=3).exceeded({"max_nodes": 3}) is None
    assert Usage(max_nodes=4).exceeded({"max_nodes": 3}) == ("max_nodes", 3, 4)
    assert Usage(max_tokens=3).exceeded({"max_tokens": 3}) == ("max_tokens", 3, 3)
    assert Usage(max_tokens=3).exceeded({"max_tokens": None}) is None
    assert Usage().exceeded({"max_cost": 0}) is None


def test_quickly_made_events_are_the_same() -> None:
    """The two events that each node brings equal those made in the usual way."""
    ref = NodeRef("d", "n", "a")
    assert m.node_started(ref, "r", 3, 1.5) == m.NodeStarted(ref, run_id="r", seq=3, at=1.5)
    assert m.node_completed(ref, OK, "r", 3, 1.5) == m.NodeCompleted(ref, OK, run_id="r", seq=3, at=1.5)


def test_other_edges_are_quickly_given() -> None:
    """What copies a node's definition with other dependencies and inputs says the same as `replace`."""
    given = NodeDef(id="a", action="act", deps=("x",), inputs={"v": 1}, tags=("t",), timeout=3.0)
    made = with_edges(given, ("y", "z"), {"w": 2}, [3])
    assert made == replace(given, deps=("y", "z"), inputs={"w": 2}, over=[3])
    assert given.deps == ("x",) and given.inputs == {"v": 1}


def test_outcomes_and_references_are_quickly_made() -> None:
    """What makes most outcomes, and the names of nodes, says the same as the classes."""
    assert success_of({"a": 1}) == NodeOutput({"a": 1})
    assert success_of({"result": 1}, "value") == NodeOutput({"result": 1}, returned="value")
    assert make_ref("d", "a", "act") == NodeRef("d", "a", "act")


def test_the_diagrams_show_the_table() -> None:
    """Each change of the table is an arrow."""
    for old, following in TRANSITIONS.items():
        for new in following:
            assert f"{old} -> {new}" in to_dot() and f"{old} --> {new}:" in to_mermaid()


def _go_through_every_change() -> None:
    """Runs in which every change of the table happens."""
    d = Driver(node("a"), node("b", "a"), node("c", "b"), node("long"))
    d.end("a")
    d.fail("b")
    d.send(m.RetryNodes(0.0))
    d.end("b")
    d.end("c")
    d.send(m.RetryNodes(0.0, "a"))
    d = Driver(node("a"), node("k", "a", action="cached"), node("r", "a"), node("long"))
    d.end("a")
    d.end("k", cached=True)
    d.fail("r")
    d.apply(m.SetNodeOutputs("r", {}))
    d.send(m.RetryNodes(0.0, "a"))
    again = [node(f"t{i}", try_count=2) for i in range(4)]
    d = Driver(*again, node("a"), node("u", "a", try_count=2), node("long"))
    d.end("a")
    for id in ("t0", "t1", "t2", "t3", "u"):
        d.fail(id)
    d.apply(m.PauseBranch("t1"), m.SetNodeOutputs("t2", {}), m.CancelBranch("t3"))
    d.send(m.RetryNodes(0.0, "a"))
    d.tick()
    d = Driver(node("a"), *(node(f"p{i}", "a") for i in range(6)), node("b"))
    d.apply(*(m.PauseBranch(f"p{i}") for i in range(4)), m.ResumeBranch("p0"), m.SetNodeOutputs("p1", {}))
    d.apply(m.CancelBranch("p2"), m.CancelBranch("p4"), m.SetNodeOutputs("p5", {}), m.CancelBranch("b"))
    d.send(m.Interrupt(0.0))
    d.reopen()
    d.send(m.CancelRun(0.0))
    d.reopen(m.RetryNodes(0.0))
    d = Driver(node("t", try_count=2), node("b"), node("a"), node("p", "a"), on_failure="stop")
    d.apply(m.PauseBranch("p"))
    d.fail("t")
    d.fail("b")
    d = Driver(node("a"), node("p", "a"), human_wait_minutes=1, human_timeout_action="fail")
    d.apply(m.PauseBranch("p"))
    d.tick()


def test_each_change_of_the_table_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """No change is listed that no run ever makes."""
    from dagflow_nb.core.state import State

    seen: set[tuple[S, S]] = set()
    plain = State.set_status

    def watched(self: State, of: object, status: S) -> None:
        seen.add((of.status, status))  # type: ignore[attr-defined]  # a Node
        plain(self, of, status)  # type: ignore[arg-type]  # a Node

    monkeypatch.setattr(State, "set_status", watched)
    _go_through_every_change()
    listed = {(old, new) for old, following in TRANSITIONS.items() for new in following}
    assert seen == listed, listed - seen
    assert all(S.PENDING in TRANSITIONS[state] for state in SUCCESS_STATES)


def test_taking_nodes_out_costs_them_alone() -> None:
    """One after the other is taken out below one very large hub: none of them looks at the others."""
    graph = Graph("g")
    count = 30_000
    graph.add(graph.check([node("hub"), *(node(f"n{i}", "hub") for i in range(count))]))
    begin = time.perf_counter()
    for i in range(count):
        graph.remove([f"n{i}"])
    assert time.perf_counter() - begin < 3.0
    assert list(graph.nodes) == ["hub"] and not graph["hub"].dependants


def test_costs_are_linear() -> None:
    """Four times the nodes take about four times as long: chains, fans, and growth."""

    def seconds(count: int) -> float:
        specs = [NodeDef(id="s", action="a")]
        specs += [NodeDef(id=f"n{i}", action="a", deps=("s",)) for i in range(count)]
        specs += [NodeDef(id=f"c{i}", action="a", deps=(f"c{i - 1}" if i else "s",)) for i in range(count)]
        begun = time.process_time()
        d = Driver(*specs)
        outcome = NodeOutput.ok()
        while d.started:
            id, attempt = d.started.popitem()
            d.send(m.AttemptEnded(id, attempt, 0.0, outcome))
        return time.process_time() - begun

    small = min(seconds(400) for _ in range(3))
    big = min(seconds(1600) for _ in range(2))
    # quadratic cost would be sixteen times as much
    assert big < 10 * small


def test_specs_of_the_wrong_kind_are_refused_when_they_are_made() -> None:
    """An id that is no text, and a batch that is no list."""
    with pytest.raises(ValidationError, match="a node's id is a text, not 3"):
        NodeSpec("a", id=3)  # type: ignore[arg-type]  # it is wrong
    for wrong in ("x", NodeSpec("a"), 3):
        with pytest.raises(ValidationError, match="takes a list of NodeSpecs"):
            m.AddNodes(wrong)  # type: ignore[arg-type]  # it is wrong
    for field in ("deps", "tags"):
        with pytest.raises(ValidationError, match=rf"NodeSpec\({field}=...\) takes a list of texts, not 3"):
            NodeSpec("a", **{field: 3})  # type: ignore[arg-type]  # it is wrong
    with pytest.raises(ValidationError, match="node_ids is a list of ids, not None"):
        m.EnableNodes(None)  # type: ignore[arg-type]  # it is wrong


def test_specs_outcomes_and_references_show_what_was_set() -> None:
    """Settings that were left alone are not in a repr; big values are shortened."""
    spec = NodeSpec("fetch", inputs={"rows": ref("scan.rows.0")}).with_id("again").with_retries(n=2)
    assert repr(spec) == "NodeSpec('fetch', id='again', inputs={'rows': ref('scan.rows.0')}, try_count=3)"
    assert len(repr(NodeSpec("fetch", inputs={"rows": list(range(10_000))}))) < 300
    assert repr(NodeOutput.ok({"rows": 3})) == "NodeOutput({'rows': 3})"
    assert repr(NodeOutput.failure("why")) == "NodeOutput({}, success=False, error='why')"
    assert len(repr(NodeOutput.ok({"rows": "x" * 1_000_000}))) < 300


def test_an_outcome_always_has_mappings() -> None:
    """None stands for no outputs and no metadata; what is no mapping is refused."""
    outcome = NodeOutput(None, False, None, "why")  # type: ignore[arg-type]  # what users write
    assert outcome == NodeOutput.failure("why") and dict(outcome.outputs) == dict(outcome.metadata) == {}
    with pytest.raises(ValidationError, match="outputs are a mapping of names to values, not 5"):
        NodeOutput(5)  # type: ignore[arg-type]  # it is wrong


MANY_NODES = """
import gc
from dagflow_nb import DagConfig
from dagflow_nb.core import messages as m
from dagflow_nb.core.model import NodeDef, NodeOutput
from dagflow_nb.core.scheduler import Scheduler

scheduler = Scheduler("many", "run", [NodeDef(id=f"n{i}", action="act") for i in range(200)])
scheduler.handle(m.Begin(0.0, DagConfig(max_parallel_nodes=None)))
for id in list(scheduler.nodes):
    scheduler.handle(m.AttemptEnded(id, 1, 1.0, NodeOutput.ok()))
assert scheduler.status == "completed"
print(sum(type(found) is dict and {"spec", "position"} <= found.keys() for found in gc.get_objects()))
"""


def test_nodes_keep_what_they_become_without_a_dict_of_their_own() -> None:
    """However many nodes a process makes before its first one runs: a dict for each is memory and time."""
    done = subprocess.run([sys.executable, "-c", MANY_NODES], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_a_list_goes_on_where_another_ends() -> None:
    """However many go on from each other, it has the parts of all; references are found and replaced."""
    nodes = {"n0": NodeDef(id="n0", action="a", inputs={"l": [ref("x"), 1]})}
    for n in range(1, 5000):
        value = Extended(Ref(f"n{n - 1}/inputs", ("l",)), (n + 1,))
        nodes[f"n{n}"] = NodeDef(id=f"n{n}", action="a", inputs={"l": value})
    found = {id: SimpleNamespace(spec=spec) for id, spec in nodes.items()}
    last = Extended(Ref("n4999/inputs", ("l",)), (ref("y"),))
    assert last.parts(found) == [ref("x"), *range(1, 5001), ref("y")]
    assert [*iter_refs({"l": last})] == [Ref("n4999/inputs", ("l",)), ref("y")]
    assert map_refs(last, lambda r: r) is last
    assert map_refs([last], lambda r: Ref(r.target + "!", r.path)) == [
        Extended(Ref("n4999/inputs!", ("l",)), (Ref("y!"),))
    ]
    assert map_refs(last, lambda r: [0] if r.path else 9) == [0, 9]
    assert Extended(Ref("gone/inputs", ("l",)), (1,)).parts(found) == [1]

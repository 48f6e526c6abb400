"""What is checked before a run begins."""

from __future__ import annotations

import pytest

from dagflow_nb import ActionNotFound, DagFlow, ValidationError, Workflow, ref
from tests.flows import single


def act(n: int, k: int = 1) -> int:
    return n * k


def test_inputs_come_from_defaults_cache_mapping_and_keywords() -> None:
    """The last one wins; a required one that is missing is named."""
    from dagflow_nb import Cache

    workflow = Workflow("w", inputs={"n": 1, "k": 2})
    workflow.add(act, n=workflow.input("n"), k=workflow.input("k"))
    cache = Cache()
    cache.insert("inputs", "n", 10)
    with DagFlow(":memory:", echo=False) as flow:
        prepare = flow._session.prepare
        assert prepare(workflow).inputs == {"n": 1, "k": 2}
        assert prepare(workflow, cache=cache).inputs == {"n": 10, "k": 2}
        assert prepare(workflow, {"n": 20}, cache=cache).inputs["n"] == 20
        assert prepare(workflow, {"n": 20}, by_name={"n": 30}).inputs["n"] == 30
        assert prepare(workflow, {"extra": 1}).inputs["extra"] == 1
        with pytest.raises(ValidationError, match="extra"):
            prepare(workflow, by_name={"extra": 1})


def test_a_missing_run_input_is_told_with_the_node_that_needs_it() -> None:
    """A reference to an input that was not given, without any default, stops the start."""
    with DagFlow(":memory:", echo=False) as flow:
        workflow = single(act, n=ref("inputs.limit"))
        with pytest.raises(ValidationError, match="'node' needs the run's input 'limit'"):
            flow._session.prepare(workflow)
        assert flow._session.prepare(single(act, n=1, k=ref("inputs.k"))).inputs == {}


def test_all_problems_are_told_at_once() -> None:
    """Several mistakes are one error."""
    workflow = Workflow("w")
    workflow.add(act, id="a", surplus=1)
    workflow.add(act, id="b")
    with DagFlow(":memory:", echo=False) as flow, pytest.raises(ValidationError) as caught:
        flow._session.prepare(workflow)
    assert all(part in str(caught.value) for part in ("'a'", "'b'", "surplus", "'n'"))


def test_failure_handlers_are_looked_for_too() -> None:
    """A handler that is not defined is `ActionNotFound` before the run."""
    with DagFlow(":memory:", echo=False) as flow, pytest.raises(ActionNotFound, match="mend"):
        flow._session.prepare(single(act, n=1, failure="mend"))


def test_a_function_with_the_name_of_another_action_is_refused() -> None:
    """The one that a decorator defined would run in its place; the same function, or a new one, is fine."""

    def other() -> int:
        return 2

    other.__name__ = "act"
    with DagFlow(":memory:", echo=False) as flow:
        flow.action(act)
        assert flow.run(single(act, n=3), view=False).result == 3
        with pytest.raises(ValidationError, match="'single' brings a function 'act', but another action"):
            flow.add_workflow(single(other))
        assert flow.run("single", view=False).result == 3  # what had been added before is still there
        flow.action(other)
        assert flow.run(single(other), view=False).result == 2

"""Actions: their settings, what they return, and the wrapper that decorating gives."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import typing
from collections import OrderedDict
from datetime import timedelta
from typing import Any

import cloudpickle
import pytest
from pydantic import BaseModel

from dagflow_nb.actions import (
    TRACER,
    Action,
    ActionRegistry,
    CachePolicy,
    FunctionAction,
    InputError,
    NodeAction,
    NodeCtx,
    OutputError,
    as_action,
    make_action,
    prepared,
    settings_of,
)
from dagflow_nb.core.model import Form, NodeOutput, OnFailure
from dagflow_nb.core.retry import RetryStrategy
from dagflow_nb.errors import ValidationError

registry = ActionRegistry()


@registry.action
def double(value: int = 1) -> int:
    """Doubles a number.

    At length.
    """
    return 2 * value


@registry.action(retries=1)
async def fetch(source: str) -> dict[str, Any]:
    """Fetches."""
    return {"source": source}


class Shout(NodeAction):
    """Shouts."""

    name = "shout"

    async def execute(self, ctx: NodeCtx) -> NodeOutput:
        """Shouts."""
        return NodeOutput.ok({"text": ctx.get_input("text").upper()})

    def validate_inputs(self, inputs: Any) -> Any:
        """Refuses the empty text."""
        return None if inputs.get("text") else "text is empty"


class Model(BaseModel):
    """Is it right?"""

    value: int = 1


# --- settings ---------------------------------------------------------------------------------


def test_settings_for_the_scheduler():
    """Each setting of the decorator becomes what the scheduler reads."""
    action = FunctionAction(
        lambda: None,
        name="act",
        retries=2,
        retry_strategy="immediate",
        retry_on=(ValueError, OSError),
        timeout=3,
        cache="24h",
        executor="process",
        outputs=["a", "b"],
        on_failure="HALT",
        failure=double,
        tags="io",
        idempotent=False,
        ask=Model,
        description="Acts.",
    )
    found = action.settings
    assert found.try_count == 3 and found.retry == RetryStrategy.immediate()
    assert found.timeout == 3.0 and found.executor == "process" and found.on_failure is OnFailure.STOP
    assert found.failure == "double" and found.tags == ("io",) and found.idempotent is False
    assert isinstance(found.ask, Form) and found.ask.question == "Is it right?"
    assert found.retry_timeouts is True  # TimeoutError is an OSError
    assert action.options.outputs == ("a", "b") and action.options.ask_model is Model
    assert action.options.description == "Acts." and action.cache.ttl == 86400.0


def test_defaults():
    """Without settings: a thread for `def`, the loop for `async def`, and nothing else is said."""
    settings = settings_of(as_action(double))
    assert settings.executor == "thread" and settings_of(as_action(fetch)).executor == "async"
    assert settings.try_count is None and settings.retry is None and settings.ask is None
    assert as_action(double).options.executor is None
    assert settings.retry_timeouts is True and settings.idempotent is True
    assert prepared(as_action(double)).options.description == "Doubles a number."


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("retries", -1),
        ("retries", 1.5),
        ("retries", True),
        ("timeout", 0),
        ("timeout", "3"),
        ("timeout", float("nan")),
        ("retry_on", "ValueError"),
        ("retry_on", (ValueError, 3)),
        ("retry_strategy", "sometimes"),
        ("on_failure", "explode"),
        ("on_failure", 3),
        ("tags", [1]),
        ("tags", 3),
        ("outputs", ("a", "a")),
        ("outputs", ()),
        ("outputs", {"a", "b"}),
        ("executor", 3),
        ("executor", ""),
        ("cache", "soon"),
        ("cache", "0s"),
        ("cache", 3),
        ("cache", timedelta(0)),
        ("cache", {"ttl": -1}),
        ("ask", 3),
        ("idempotent", "yes"),
        ("failure", 3),
        ("description", 3),
        ("name", ""),
        ("name", " a"),
        ("name", 3),
    ],
)
def test_a_bad_setting_is_named_at_definition(setting, value):
    """A wrong setting raises where it is written, naming the setting, the value and what is allowed."""
    with pytest.raises(ValidationError) as found:
        FunctionAction(double.__wrapped__, **{setting: value})
    assert setting in str(found.value)
    if setting != "name":
        assert found.value.culprit == setting and "'double'" in str(found.value)


def test_a_lambda_needs_a_name():
    """A lambda without a name is refused with the way out."""
    with pytest.raises(ValidationError, match=r"name='\.\.\.'"):
        FunctionAction(lambda: None)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, CachePolicy()),
        (True, CachePolicy(True, said=True)),
        (False, CachePolicy(False, said=True)),
        ("always", CachePolicy(True, said=True)),
        ("never", CachePolicy(False, said=True)),
        ("1h 30m", CachePolicy(True, 5400.0, said=True)),
        (timedelta(days=1), CachePolicy(True, 86400.0, said=True)),
        ({"ttl": 300}, CachePolicy(True, 300.0, said=True)),
        ({"ttl": "5min"}, CachePolicy(True, 300.0, said=True)),
        (len, CachePolicy(True, key=len, said=True)),
    ],
)
def test_what_cache_takes(setting, expected):
    """Durations, YAML's words and key functions all become one policy."""
    assert CachePolicy.of(setting) == expected


def test_which_errors_are_retried():
    """Those in retry_on, but never what a wrong input or a wrong result raises."""
    action = FunctionAction(double.__wrapped__, retry_on=ValueError)
    assert action.retries_on(UnicodeError()) and not action.retries_on(KeyError())
    assert not action.retries_on(InputError("x")) and not action.retries_on(OutputError("x"))
    assert action.settings.retry_timeouts is False
    assert not as_action(double).retries_on(KeyboardInterrupt())


# --- what is returned -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "outputs", "kind"),
    [
        ({"a": 1}, {"a": 1}, "mapping"),
        ({}, {}, "mapping"),
        (OrderedDict(a=1), {"a": 1}, "mapping"),
        ({1: "a"}, {"result": {1: "a"}}, "value"),
        (None, {}, "none"),
        (3, {"result": 3}, "value"),
        ((1, 2), {"result": (1, 2)}, "value"),
        ("ab", {"result": "ab"}, "value"),
        (Model(value=3), {"result": Model(value=3)}, "value"),
        ([], {"result": []}, "value"),
    ],
)
def test_return_rules(returned, outputs, kind):
    """Mappings with text keys are outputs, None is nothing, anything else is the output "result"."""
    found = FunctionAction(lambda: returned, name="act").invoke(NodeCtx())
    assert found.outputs == outputs and found.returned == kind and found.success
    assert found.value == returned


def test_an_outcome_is_passed_on():
    """A NodeOutput is returned as it is."""
    outcome = NodeOutput.failure("no data")
    assert FunctionAction(lambda: outcome, name="act").invoke(NodeCtx()) is outcome


def test_declared_outputs():
    """A tuple of the declared length goes to the names; mappings, outcomes and None stay what they are."""

    def act(value):
        return value

    action = FunctionAction(act, outputs=("a", "b"))

    def give(value: Any) -> NodeOutput:
        return action.invoke(NodeCtx(inputs={"value": value}))

    assert give((1, 2)).outputs == {"a": 1, "b": 2} and give((1, 2)).returned == "tuple"
    assert give((1, 2)).value == (1, 2)
    assert give({"x": 1}).outputs == {"x": 1} and give(None).outputs == {}
    for other in ((1, 2, 3), [1, 2], 5):
        assert give(other).outputs == {"result": other} and give(other).returned == "value"
    action = FunctionAction(act, outputs="result")
    assert give(3).outputs == {"result": 3} == give((3,)).outputs and give((3,)).returned == "tuple"


def test_an_action_does_not_yield():
    """A function that yields is refused at its definition; a generator that one returns is a value."""

    def generates():
        yield 1

    async def streams():
        yield 1

    for function in (generates, streams):
        with pytest.raises(ValidationError, match=r"yields, but .* return a list"):
            FunctionAction(function)
    assert list(FunctionAction(lambda: generates(), name="act").invoke(NodeCtx()).outputs["result"]) == [1]


def test_a_coroutine_is_no_result():
    """What nobody would await is refused with the way out, and closed."""

    async def later():
        return 1

    for outputs in (None, ("a", "b")):
        with pytest.raises(OutputError, match="returned a coroutine"):
            FunctionAction(lambda: later(), name="act", outputs=outputs).invoke(NodeCtx())


def test_execute_and_invoke():
    """`execute` runs both kinds on the loop, `invoke` both kinds without one."""
    ctx = NodeCtx(inputs={"source": "a"})
    assert asyncio.run(as_action(fetch).execute(ctx)).outputs == {"source": "a"}
    assert as_action(fetch).invoke(ctx).outputs == {"source": "a"}
    assert asyncio.run(as_action(double).execute(NodeCtx())).outputs == {"result": 2}


# --- the wrapper ------------------------------------------------------------------------------


def test_the_wrapper_behaves_as_the_function():
    """It is called, described and told to be async as the function itself."""
    assert double(4) == 8 and asyncio.run(fetch("a")) == {"source": "a"}
    assert isinstance(double, Action) and double.__name__ == "double" and double.__doc__.startswith("Doubles")
    assert inspect.signature(double) == inspect.signature(double.__wrapped__)
    assert typing.get_type_hints(fetch) == {"source": str, "return": dict[str, Any]}
    assert inspect.iscoroutinefunction(fetch) and not inspect.iscoroutinefunction(double)
    assert asyncio.iscoroutinefunction(functools.partial(fetch, "a")) or inspect.iscoroutinefunction(fetch)
    assert double.name == "double" and double.action is registry.get("double")


def test_attributes_of_the_function():
    """The function's own attributes are there; what it has not is missing."""

    def act():
        return None

    act.version = 3
    wrapper = make_action(act)
    assert wrapper.version == 3
    with pytest.raises(AttributeError):
        _ = wrapper.nothing


def test_pickling_and_copying():
    """A wrapper and its action come back as themselves by name, and by value where they have no name."""
    assert pickle.loads(pickle.dumps(double)) is double and copy.deepcopy(double) is double
    assert pickle.loads(pickle.dumps(as_action(fetch))) is fetch.action

    @ActionRegistry().action
    def recursive(value: int) -> int:
        return value + recursive(value - 1) if value else 0

    @ActionRegistry().action(retries=3, timeout=4, tags=["a"])
    def local(value: int) -> int:
        return value + 1

    again = cloudpickle.loads(cloudpickle.dumps(local))
    assert again(1) == 2 and settings_of(again.action) == settings_of(local.action)
    assert (
        cloudpickle.loads(cloudpickle.dumps(local.action)).invoke(NodeCtx(inputs={"value": "1"})).value == 2
    )
    assert copy.copy(local)(1) == 2 and copy.copy(local).action is local.action
    assert cloudpickle.loads(cloudpickle.dumps(recursive))(3) == 6
    shout = cloudpickle.loads(cloudpickle.dumps(as_action(Shout, retries=1)))
    assert shout.settings.try_count == 2 and shout.name == "shout"


def test_text_annotations_travel():
    """What they stand for goes along to another process, where their names are not known."""
    space: dict[str, Any] = {"__name__": "__main__"}
    text = "import pydantic\nclass Row(pydantic.BaseModel):\n    n: int\n"
    text += "def total(rows: 'list[Row]', odd: 'Nowhere' = 1, **more: 'Row'): return sum(r.n for r in rows)"
    exec(compile(text, "<cell>", "exec", dont_inherit=True), space)
    sent = cloudpickle.dumps(FunctionAction(space["total"]))
    again = cloudpickle.loads(sent)
    assert again.invoke(NodeCtx(inputs={"rows": [{"n": "3"}]})).value == 3
    assert again.bind(NodeCtx(inputs={"rows": [], "x": {"n": 4}}))["x"].n == 4
    assert cloudpickle.loads(cloudpickle.dumps(again)).invoke(NodeCtx(inputs={"rows": [{"n": 1}]})).value == 1


def test_what_is_shown():
    """A wrapper shows its name and parameters, escaped in HTML."""
    assert repr(double) == "<action double(value) -> int>"
    odd = make_action(lambda: None, name="<b>", description="<script>")
    assert "<script>" not in odd._repr_html_() and "&lt;script&gt;" in odd._repr_html_()
    assert repr(make_action(Shout)) == "<action shout(...)>"
    assert repr(as_action(double)) == "FunctionAction('double')"


def test_tracing():
    """While a workflow is traced, a call makes a node in place of running."""
    calls = []

    def tracer(action, args, kwargs):
        calls.append((action.name, args, kwargs))
        return "handle"

    token = TRACER.set(tracer)
    try:
        assert double(1) == "handle" and fetch(source="a") == "handle"
        assert make_action(Shout())(text="x") == "handle"
    finally:
        TRACER.reset(token)
    assert calls == [("double", (1,), {}), ("fetch", (), {"source": "a"}), ("shout", (), {"text": "x"})]
    assert double(1) == 2


def test_methods():
    """A decorated method is still a method."""

    class Scale:
        by = 3

        @ActionRegistry().action
        def times(self, value):
            return self.by * value

    assert Scale().times(2) == 6 and Scale.times.name == "times"


def test_settings_may_be_put_over_an_action():
    """Decorating an action again keeps its settings where no new ones are given."""
    again = make_action(fetch, name="fetch_2", timeout=3)
    assert again.name == "fetch_2" and settings_of(again.action).try_count == 2
    assert settings_of(again.action).timeout == 3 and fetch.name == "fetch"
    assert as_action(fetch) is fetch.action

"""Exceptions from other processes: what they were there they are here, with the frames that they passed."""

from __future__ import annotations

import pickle
import threading
import traceback
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dagflow_nb import DagFlow, NodeExecutionError, NodeNotFound
from dagflow_nb.runtime import exceptions
from tests.flows import rows, single


class Rejected(Exception):
    """As many are written: `__init__` takes other things than the message."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(f"{code}: {reason}")


class Stubborn(Exception):
    """It cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("no")


def there_and_back(error: BaseException) -> BaseException:
    found = exceptions.receive(pickle.loads(pickle.dumps(exceptions.send(error))))
    assert found is not None
    return found


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as found:
        return found


@pytest.mark.parametrize("where", ["process", "pool"])
def test_an_action_fails_in_another_process_as_it_would_here(where: str) -> None:
    """Its own exception is the cause, `retry_on` knows it, and the traceback shows the action's frames."""

    class Mine(Exception):
        def __init__(self, code: int, reason: str) -> None:
            self.code = code
            super().__init__(f"{code}: {reason}")

    def check(code: int) -> None:
        raise Mine(code, "refused") from LookupError("no such table")

    def act() -> None:
        check(7)

    with ProcessPoolExecutor(1) as pool, DagFlow(":memory:", echo=False, executors={"pool": pool}) as flow:
        flow.action(name="act", executor=where, retries=1, retry_on=Mine, retry_strategy="immediate")(act)
        with pytest.raises(NodeExecutionError, match="Mine: 7: refused") as failed:
            flow.run(single("act"), view=False)
        assert rows(flow, "select attempt, error from attempts") == [
            (1, "Mine: 7: refused"),
            (2, "Mine: 7: refused"),
        ]
        ((text, _),) = set(rows(flow, "select traceback, 1 from attempts"))
    cause = failed.value.__cause__
    assert type(cause) is Mine and cause.code == 7 and isinstance(cause.__cause__, LookupError)
    passed = [frame.name for frame in traceback.extract_tb(cause.__traceback__)]
    assert passed == ["act", "check"]
    assert "in act\n    check(7)" in text and "LookupError: no such table" in text


def test_class_attributes_and_causes_are_kept() -> None:
    """Of what pickle cannot carry by itself, too; what is shared by causes is sent once."""
    cause = raised(Stubborn("first"))
    error = raised(Rejected(3, "late"), cause)
    error.add_note("a note")
    found = there_and_back(error)
    assert type(found) is Rejected and (found.code, str(found)) == (3, "3: late")
    assert found.__notes__ == ["a note"]
    assert type(found.__cause__) is Stubborn and str(found.__cause__) == "first"
    shown = "".join(traceback.format_exception(found))
    assert "direct cause" in shown and "a note" in shown and shown.count("raise error from cause") == 2
    cause.__cause__ = error  # a circle
    assert there_and_back(error).__cause__.__cause__ is None  # type: ignore[union-attr]  # it is there


def test_what_cannot_be_sent_is_its_text() -> None:
    """Attributes that cannot be pickled are left out; a class that cannot be found is a RuntimeError."""
    error = Rejected(4, "busy")
    error.lock = threading.Lock()  # type: ignore[attr-defined]  # users do
    found = there_and_back(error)
    assert type(found) is Rejected and str(found) == "4: busy" and not hasattr(found, "lock")
    text, _, *rest = exceptions.send(error)  # type: ignore[misc]  # it is something
    lost = exceptions.receive((text, b"cnowhere\nNothing\n.", *rest))  # type: ignore[arg-type]  # as far as it goes
    assert type(lost) is RuntimeError and str(lost).startswith("Rejected: 4: busy (it cannot be read here")


@given(st.sampled_from([ValueError, KeyError, OSError, SystemExit, NodeNotFound]), st.text(max_size=5))
def test_usual_exceptions_come_as_they_went(kind: type[BaseException], text: str) -> None:
    """Built-in ones and those of this package."""
    error = kind(text)
    found = there_and_back(error)
    assert type(found) is kind and str(found) == str(error) and found.args == error.args


def test_an_os_error_keeps_its_file() -> None:
    """What is not in `args` is kept where pickle keeps it."""
    found = there_and_back(raised(FileNotFoundError(2, "No such file", "a.csv")))
    assert isinstance(found, FileNotFoundError) and found.filename == "a.csv"

"""One attempt: what it says is bounded and never blocks, how it ended is told in a short text."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from dagflow_nb.runtime.attempts import MOST_OUTPUT, Talk
from dagflow_nb.runtime.tracebacks import describe, user_traceback


def talk(echo: bool = True) -> tuple[Talk, deque[Any]]:
    """A channel and its outbox."""
    outbox: deque[Any] = deque()
    return Talk("node", 1, outbox, lambda: None, echo), outbox


def test_whole_lines_are_told_and_the_rest_is_held_back() -> None:
    """Pieces of a line wait for its end; the last one is told when the attempt ends."""
    channel, outbox = talk()
    assert channel.wrote("stdout", "a") == ""
    assert channel.wrote("stdout", "b\nc\nd") == "ab\nc\n"
    assert [said[-1] for said in outbox] == ["ab\nc"]
    assert channel.last_lines() == {"stdout": "d\n"} and channel.last_lines() == {}


def test_a_line_without_an_end_is_not_held_for_ever() -> None:
    """Ten thousand characters without an end of line are told as they are."""
    channel, outbox = talk()
    for _ in range(11):
        channel.wrote("stdout", "x" * 1000)
    assert len(outbox) == 1 and len(outbox[0][-1]) == 10_000


def test_what_is_too_much_is_dropped_with_a_word() -> None:
    """Beyond the bound nothing is kept but one line that says so."""
    channel, outbox = talk()
    for _ in range(30):
        channel.wrote("stdout", "x" * (MOST_OUTPUT // 10) + "\n")
    text = "".join(said[-1] for said in outbox)
    assert len(text) < MOST_OUTPUT + 200 and text.count("the rest is dropped") == 1


def test_a_cancelled_attempt_says_no_more_but_what_it_cost() -> None:
    """After the end of an attempt its prints are nobody's; tokens that were used up are counted."""
    channel, outbox = talk()
    channel.cancelled = True
    channel.log("late", "INFO")
    channel.usage(5, 0.1)
    assert [said[0] for said in outbox] == ["usage"]


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error", [ValueError(), ValueError("x" * 10**6), Mute(), SystemExit(1), KeyError("k")]
)
def test_every_exception_has_a_short_text(error: BaseException) -> None:
    """The type's name, and the text as far as there is one."""
    assert describe(error).startswith(type(error).__name__) and len(describe(error)) < 2100
    assert type(error).__name__ in user_traceback(error)

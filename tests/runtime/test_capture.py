"""What actions print: told apart by context, echoed in whole lines, and everything restored afterwards."""

from __future__ import annotations

import gc
import io
import logging
import sys
import weakref
from contextvars import copy_context

import pytest

from dagflow_nb.runtime import capture


class Heard:
    """A listener that keeps what it is told and echoes all of it."""

    echo = True

    def __init__(self) -> None:
        self.text = ""
        self.records: list[tuple[str, str]] = []

    def wrote(self, stream: str, text: str) -> str:
        self.text += text
        return text

    def logged(self, level: str, message: str) -> None:
        self.records.append((level, message))


def test_only_what_is_written_inside_an_attempt_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    """The context variable decides; without it the text goes where it always went."""
    heard = Heard()

    def inside() -> None:
        capture.CURRENT.set(heard)
        print("inside")
        logging.getLogger("x").error("broken %s", "pipe")

    capture.start()
    try:
        print("outside")
        copy_context().run(inside)
        print("outside again")
    finally:
        capture.stop()
    assert heard.text == "inside\n" and heard.records == [("ERROR", "broken pipe")]
    assert capsys.readouterr().out == "outside\ninside\noutside again\n"


def test_the_last_one_restores_the_streams() -> None:
    """Runs overlap: with the last of them the streams and the root logger are as they were."""
    before = sys.stdout, sys.stderr, list(logging.getLogger().handlers)
    capture.start()
    capture.start()
    capture.stop()
    assert isinstance(sys.stdout, capture.Tee)
    capture.stop()
    assert (sys.stdout, sys.stderr, logging.getLogger().handlers) == before


def test_a_stream_put_in_place_meanwhile_is_left_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another tool has put in place while a run goes on is not taken away from it."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    capture.start()
    theirs = io.StringIO()
    monkeypatch.setattr(sys, "stdout", theirs)
    capture.stop()
    assert sys.stdout is theirs


def test_a_wrapper_that_is_taken_out_may_still_be_written_to() -> None:
    """It is not freed, as `print` in a thread that outlives its run may use it; the next run has it again."""
    capture.start()
    out, err = weakref.ref(sys.stdout), weakref.ref(sys.stderr)
    capture.stop()
    gc.collect()
    assert isinstance(out(), capture.Tee) and isinstance(err(), capture.Tee) and sys.stdout is not out()
    capture.start()
    assert sys.stdout is out() and sys.stderr is err()
    capture.stop()


def test_a_wrapped_stream_that_was_closed_does_no_harm() -> None:
    """The wrapper goes without flushing or closing what it wrapped."""
    real = io.StringIO()
    tee = capture.Tee(real, "stdout")
    real.close()
    tee.close()
    del tee

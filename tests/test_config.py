"""Settings of runs: what is accepted, and what a refusal says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dagflow_nb import DagConfig, OnFailure, ValidationError


def test_numbers_of_numpy_are_numbers() -> None:
    """Counts, limits and seconds may come out of an array; what is kept is a plain number."""
    config = DagConfig(
        max_parallel_nodes=np.int64(4),
        max_attempts=np.int32(3),
        max_iterations=np.uint8(7),
        limits={"api": np.int64(2)},
        timeout_seconds=np.float32(1.5),
    )
    same = DagConfig(
        max_parallel_nodes=4, max_attempts=3, max_iterations=7, limits={"api": 2}, timeout_seconds=1.5
    )
    assert config == same and type(config.max_attempts) is type(config.limits["api"]) is int


@pytest.mark.parametrize("value", [0, -1, True, 1.5, None, "x", "0/min", "60/fortnight"])
def test_a_limit_that_is_none_is_refused_once(value: Any) -> None:
    """A bad limit is named with its key and what a limit may be, in one sentence."""
    with pytest.raises(ValidationError, match=r"DagConfig\(limits\.api=") as refused:
        DagConfig(limits={"api": value})
    assert "60/min" in str(refused.value) and ";" not in str(refused.value)
    assert refused.value.culprit == "limits"


@pytest.mark.parametrize("text", ["halt", "HALT", "stop", "Stop"])
def test_halt_is_another_name_of_stop(text: str) -> None:
    """By its text too, wherever a policy is given."""
    assert OnFailure(text) is OnFailure.HALT is OnFailure.STOP
    assert DagConfig(on_failure=text).on_failure is OnFailure.STOP


@pytest.mark.parametrize("value", ["explode", "", None, 3, ["stop"]])
def test_what_is_no_policy_is_refused(value: Any) -> None:
    """Another text, or no text at all."""
    with pytest.raises(ValidationError, match=r"on_failure=.*'continue', 'pause' or 'stop'"):
        DagConfig(on_failure=value)
    with pytest.raises(ValueError, match="not a valid OnFailure"):
        OnFailure(value)

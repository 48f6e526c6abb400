"""What a cell shows of an error of the package."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from dagflow_nb import DagConfig, DagFlow
from dagflow_nb.errors import DagError, SerializationError, ValidationError
from dagflow_nb.notebook.tracebacks import render


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """An IPython shell, as a kernel has one."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def caught(error: DagError) -> str:
    """What is shown of an error, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(render(error)))


def test_a_usage_error_shows_the_users_lines_only() -> None:
    """No frame of the package, none of pydantic: where the user called it, and what is wrong."""

    def mine() -> None:
        DagConfig(max_parallel_nodes=-1)

    with pytest.raises(ValidationError) as raised:
        mine()
    text = caught(raised.value)
    assert "in mine" in text and "max_parallel_nodes=-1" in text
    assert "dagflow_nb/config.py" not in text and "pydantic_core" not in text
    assert "greater than or equal to 1" in text.splitlines()[-1]


def test_the_users_own_error_below_is_shown() -> None:
    """Where code of the user's raised the error that this one came from, its frames are there."""

    def encode() -> None:
        raise OSError("mine")

    try:
        try:
            encode()
        except OSError as bad:
            raise SerializationError("cannot be stored") from bad
    except SerializationError as error:
        text = caught(error)
    assert "in encode" in text and text.splitlines()[-1] == "SerializationError: cannot be stored"


def test_a_shell_shows_it_in_its_own_look(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    """In IPython the cell's lines are shown around the arrow, and nothing of the package."""
    with DagFlow(":memory:", echo=False) as flow:
        shell.user_ns["flow"] = flow
        shell.run_cell("1 + 1\nflow.run('nothing')")
        shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        assert "----> 2 flow.run('nothing')" in shown and "dagflow_nb/api/flow.py" not in shown
        assert "DagNotFound: no workflow 'nothing'" in shown

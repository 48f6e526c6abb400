"""The document on the states of nodes: its diagram is the table of transitions, drawn.

Run as a program (`python tests/core/test_states_document.py`), this writes the diagram into the document.
"""

from __future__ import annotations

import re
from pathlib import Path

from dagflow_nb.core.model import NodeStatus
from dagflow_nb.core.transitions import to_mermaid

DOCUMENT = Path(__file__).parents[2] / "notebooks" / "node_states.md"
DIAGRAM = re.compile(r"(?s)(?<=```mermaid\n).*?(?=```)")


def test_the_diagram_is_the_table() -> None:
    """The one diagram in the document is what the table of transitions gives now."""
    found = DIAGRAM.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert found == [to_mermaid() + "\n"], (
        f"the diagram in {DOCUMENT.name} is not what the table of transitions gives; this writes it anew: "
        "python tests/core/test_states_document.py"
    )


def test_each_state_has_its_paragraph() -> None:
    """Every state has a heading with something below it, and nothing else has one."""
    parts = re.split(r"(?m)^## ", DOCUMENT.read_text(encoding="utf-8"))[1:]
    told = {name: text.strip() for name, _, text in (part.partition("\n") for part in parts)}
    assert sorted(told) == sorted(NodeStatus)
    assert all(told.values())


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(DIAGRAM.sub(lambda _: to_mermaid() + "\n", text, count=1), encoding="utf-8")

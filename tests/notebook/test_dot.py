"""DOT text: what Graphviz is told, and that nothing in it can be more than a text."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace

import pytest

from dagflow_nb.core.model import NodeDef
from dagflow_nb.notebook.dot import escaped, snapshot_dot, workflow_dot
from dagflow_nb.runtime.snapshot import NodeView

from .conftest import HOSTILE, run_of


def test_a_workflow_reads_as_one_would_write_it():
    """Plain ids stand unquoted, lines as `a -> b`, and a label has id and action."""
    defs = [NodeDef(id="fetch", action="fetch_data"), NodeDef(id="clean", action="clean", deps=("fetch",))]
    text = workflow_dot(SimpleNamespace(name="tidy", nodes=defs))
    assert text.startswith("digraph tidy {") and "rankdir=LR" in text
    assert "fetch -> clean" in text and r'label="fetch\lfetch_data\l"' in text


def test_states_are_words_as_well_as_colours(rich):
    """A node's label says its state, so that nobody needs to tell colours apart."""
    text = snapshot_dot(rich)
    for state in ("completed", "cached", "recovered", "paused", "skipped", "cancelled"):
        assert state in text
    assert "shape=diamond" in text and "subgraph cluster_" in text
    assert "style=dashed" in text and "style=dotted" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_stay_between_their_quotes(text):
    """Angle brackets and ampersands become entities, backslashes are doubled, breaks are spaces."""
    clean = escaped(text)
    assert "<" not in clean and ">" not in clean and "\n" not in clean
    assert clean.replace("\\\\", "").count("\\") == 0
    assert escaped("a<b>&\\") == "a&lt;b&gt;&amp;\\\\"


def test_hostile_texts_make_no_nodes_of_their_own(hostile):
    """Graphviz reads just as many nodes and lines as there are, with the ids that were meant."""
    program = shutil.which("dot")
    if program is None:
        pytest.skip("there is no program 'dot' here to read the text with")
    plain = subprocess.run(
        [program, "-Tplain"],
        input=snapshot_dot(hostile).encode(),
        capture_output=True,
        check=True,
        timeout=30,
    ).stdout.decode()
    kinds = [line.split(" ", 1)[0] for line in plain.splitlines()]
    count = len(HOSTILE)
    assert kinds.count("node") == count
    assert kinds.count("edge") == count * (count - 1) // 2


def test_a_colon_in_an_id_is_no_port():
    """Ids with colons name the same node in nodes and in lines."""
    text = snapshot_dot(run_of(NodeView(id="a:b", action="f"), NodeView(id="c", action="f", deps=("a:b",))))
    assert '"a:b" -> c' in text and '"a":"b"' not in text

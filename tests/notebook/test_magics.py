"""`%%workflow`, `%runs` and `%dag` on the latest flow."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from IPython.core.error import UsageError

from dagflow_nb.errors import DagNotFound
from dagflow_nb.notebook import magics


class Flow:
    """Keeps what the magics asked for."""

    def __init__(self):
        self.texts, self.filters = [], []

    def load_yaml_string(self, text):
        self.texts.append(text)
        return yaml.safe_load(text)

    def graph(self, workflow):
        if workflow == "unknown" or workflow == "run-1":
            raise DagNotFound(workflow, ["pipeline"])
        return ("picture", workflow)

    def get(self, run):
        if run != "run-1":
            raise DagNotFound(run, what="run")
        return SimpleNamespace(graph=lambda: ("picture of run", run))

    def runs(self, **filters):
        self.filters.append(filters)
        return "frame"


@pytest.fixture
def flow(monkeypatch):
    """The latest flow of the session."""
    flow = Flow()
    module = ModuleType("dagflow_nb.api.flow")
    module.latest_flow = lambda: flow
    monkeypatch.setitem(sys.modules, "dagflow_nb.api.flow", module)
    return flow


def test_the_extension_registers_three_magics():
    """Loading it makes one cell magic and two line magics known."""
    found = {}
    shell = SimpleNamespace(register_magic_function=lambda fn, kind: found.update({fn.__name__: kind}))
    magics.load_ipython_extension(shell)
    assert found == {"workflow": "cell", "runs": "line", "dag": "line"}


def test_a_cell_of_yaml_is_loaded_and_drawn(flow):
    """Without a name the text is loaded as it is; the result is the workflow's picture."""
    text = "name: pipeline\nnodes: []\n"
    assert magics.workflow("", text) == ("picture", {"name": "pipeline", "nodes": []})
    assert flow.texts == [text]


@pytest.mark.parametrize(
    "text",
    [
        "nodes: []",
        "name: other\nnodes: []\n",
        "# first\nnodes:\n  - {id: a, name: inner}\n\n",
        '"name" : x\nnodes: []',
    ],
)
@pytest.mark.parametrize("name", ["tidy", "it's: new", "1.5"])
def test_a_name_goes_over_the_texts_own(flow, text, name):
    """The name is given, or replaces the one that is there, and no other line moves."""
    magics.workflow(name, text)
    loaded = yaml.safe_load(flow.texts[0])
    assert loaded["name"] == name and "nodes" in loaded
    before, after = text.splitlines(), flow.texts[0].splitlines()
    for line, kept in zip(before, after, strict=False):
        assert line == kept or line.startswith(("name", '"name"')) or line == ""


def test_runs_are_listed(flow):
    """All runs, or those of one workflow."""
    assert magics.runs("") == magics.runs(" pipeline ") == "frame"
    assert flow.filters == [{}, {"dag_name": "pipeline"}]


def test_a_workflow_or_a_run_is_drawn(flow):
    """A name is a workflow's, else a run's; one that is neither is an error that suggests names."""
    assert magics.dag("pipeline") == ("picture", "pipeline")
    assert magics.dag("run-1") == ("picture of run", "run-1")
    with pytest.raises(DagNotFound, match="there is 'pipeline'"):
        magics.dag("unknown")
    with pytest.raises(UsageError, match="name of a workflow"):
        magics.dag("  ")


def test_without_a_flow_the_magics_say_what_to_do(flow, monkeypatch):
    """Before there is a flow each magic says how to make one."""
    monkeypatch.setattr(sys.modules["dagflow_nb.api.flow"], "latest_flow", lambda: None)
    for ask in (lambda: magics.runs(""), lambda: magics.dag("x"), lambda: magics.workflow("", "nodes: []")):
        with pytest.raises(UsageError, match=r"flow = DagFlow\(\)"):
            ask()

"""Workflows that grow while they run, for people who think in notebooks.

from dagflow_nb import DagFlow

flow = DagFlow("workflows.db")

@flow.action
def fetch(source: str = "default"):
    return {"rows": ["a", "", "b"]}

@flow.workflow
def pipeline(source="default"):
    return fetch(source)

run = flow.run("pipeline")
"""

import lazy_loader

__version__ = "0.1.0"

_find, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """A name of the package: imported when it is first asked for, and at hand from then on."""
    found = globals()[name] = _find(name)
    return found


def load_ipython_extension(ipython: object) -> None:
    """What `%load_ext dagflow_nb` calls: `%%workflow`, `%runs` and `%dag`."""
    from .notebook.magics import load_ipython_extension as load

    load(ipython)


__all__ = [*_names, "load_ipython_extension"]

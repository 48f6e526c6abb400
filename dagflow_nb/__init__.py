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

_names = lazy_loader.attach_stub(__name__, __file__)


def load_ipython_extension(ipython: object) -> None:
    """What `%load_ext dagflow_nb` calls: `%%workflow`, `%runs` and `%dag`."""
    from .notebook.magics import load_ipython_extension as load

    load(ipython)


__getattr__, __dir__ = _names[0], _names[1]
__all__ = [*_names[2], "load_ipython_extension"]

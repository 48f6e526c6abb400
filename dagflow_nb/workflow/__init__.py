"""Workflows: building them step by step, from a function, from YAML; checking and flattening them."""

from .builder import Workflow
from .check import check
from .flatten import flatten, instantiate, leaves_of, result_of
from .handles import NodeHandle, Reference
from .naming import REQUIRED
from .tracing import build_from_function

__all__ = [
    "REQUIRED",
    "NodeHandle",
    "Reference",
    "Workflow",
    "build_from_function",
    "check",
    "flatten",
    "instantiate",
    "leaves_of",
    "result_of",
]

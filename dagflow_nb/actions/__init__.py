"""Actions: functions and classes that do the work of a node.

`FunctionAction` binds a node's inputs to a function's parameters and reads what it returns;
`NodeAction` is the base of actions written as classes; `ActionRegistry` holds them by name.
"""

from .base import ClassAction, NodeAction, PreparedAction, prepared, settings_of
from .binding import ENGINE_INPUTS, HISTORY, MISSING
from .context import Channel, NodeCtx
from .conversion import InputError, MissingInput, convert
from .function import FunctionAction
from .late import LateAction
from .options import CachePolicy, Options, parse_duration
from .registry import ActionRegistry
from .returns import OutputError
from .secrecy import GivenSecret, bare, hide, hide_items, holds_secret
from .wrapper import TRACER, Action, as_action, function_of, make_action

__all__ = [
    "ENGINE_INPUTS",
    "HISTORY",
    "MISSING",
    "TRACER",
    "Action",
    "ActionRegistry",
    "CachePolicy",
    "Channel",
    "ClassAction",
    "FunctionAction",
    "GivenSecret",
    "InputError",
    "LateAction",
    "MissingInput",
    "NodeAction",
    "NodeCtx",
    "Options",
    "OutputError",
    "PreparedAction",
    "as_action",
    "bare",
    "convert",
    "function_of",
    "hide",
    "hide_items",
    "holds_secret",
    "make_action",
    "parse_duration",
    "prepared",
    "settings_of",
]

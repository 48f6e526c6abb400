"""An attempt in another process: packed, sent, called there, and its outcome sent back.

cloudpickle carries functions that were defined in cells. What is unpacked here was packed by this very
run a moment ago: nothing from a file or another user is ever unpickled.
"""

from __future__ import annotations

import pickle
from typing import Any

from ..actions import FunctionAction, NodeCtx
from ..core.model import NodeOutput


def pack(action: FunctionAction, ctx: NodeCtx) -> bytes:
    """An action and what it is given, as bytes."""
    import cloudpickle

    given = {
        "dag_name": ctx.dag_name,
        "node_id": ctx.node_id,
        "action": ctx.action,
        "run_id": ctx.run_id,
        "attempt": ctx.attempt,
        "inputs": dict(ctx.inputs),
        "app_data": ctx.app_data,
    }
    packed: bytes = cloudpickle.dumps((action, given))
    return packed


def call(packed: bytes) -> bytes:
    """Call a packed action; returns its outcome or its exception, packed."""
    import cloudpickle

    action, given = pickle.loads(packed)
    ctx = NodeCtx(**given)
    try:
        result: tuple[Any, Any] = (action.invoke(ctx), None)
    except Exception as error:
        result = (None, error)
    try:
        answer: bytes = cloudpickle.dumps(result)
    except Exception as bad:
        text = f"the result of {ctx.node_id!r} cannot be sent back from its process: {bad}"
        answer = cloudpickle.dumps((None, TypeError(text)))
    return answer


def unpack(packed: bytes) -> tuple[NodeOutput | None, BaseException | None]:
    """What `call` returned."""
    outcome, error = pickle.loads(packed)
    return outcome, error

"""What is asked about a plan that waits for a person: the pause, its form, and how that is known again."""

from __future__ import annotations

import json
from typing import Any

from ..core.graph import Node
from ..core.messages import AddNodes, ExecutorCommand, PauseBranch
from ..core.model import Form
from ..errors import ValidationError, shorten
from .plan import Plan

PLAN = "plan"  # the form's one field, and its title


def asking(node: Node, plan: Plan | None, question: str) -> list[ExecutorCommand]:
    """Waits until somebody has decided on a proposal; None: on one that cannot be read any more."""
    field: dict[str, Any] = {
        "title": PLAN,
        "description": "The steps, to be changed before they are added.",
    }
    defaults = {}
    if plan is not None and (given := json_of(plan)) is not None:
        field["default"] = defaults[PLAN] = given
    schema = {"type": "object", "properties": {PLAN: field}, "additionalProperties": False}
    pause = PauseBranch(node.id, question, Form(question, schema, defaults, decision=True))
    return [AddNodes((), holds=node.id), pause]


def question_of(plan: Plan) -> str:
    """What is asked in words."""
    names = ", ".join(plan)
    steps = f"{len(plan)} step{'s'[len(plan) == 1 :]}"
    return f"Add {steps}? {names if len(names) <= 200 else shorten(names, 200)}"


def json_of(plan: Plan) -> Any:
    """A proposal as JSON values; None where it has no such form."""
    try:
        return json.loads(plan.to_json(indent=None))
    except ValidationError:
        return None


def asks_for_plan(form: Form | None) -> bool:
    """Whether a form is that of a proposal."""
    schema = form.schema if form is not None else None
    return schema is not None and schema.get("properties", {}).get(PLAN, {}).get("title") == PLAN

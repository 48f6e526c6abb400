"""How a run behaves: `DagConfig`, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from numbers import Integral
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, field_validator

from .core.budget import parse_rate
from .core.model import HumanTimeoutAction, OnFailure
from .core.retry import RetryStrategy
from .errors import ValidationError, did_you_mean, shorten


def _whole(value: Any) -> Any:
    """numpy's whole numbers are whole numbers, too."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _limit(value: Any) -> int | str:
    if isinstance(value, str):
        parse_rate(value)
        return value
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1:
        return int(value)
    raise ValueError("a limit is a whole number of at least 1, or a rate such as '60/min'")


def _policy(value: Any) -> OnFailure:
    try:
        return OnFailure(value)
    except ValueError:  # pydantic would count the alias as a fourth one
        raise ValueError("input should be 'continue', 'pause' or 'stop'") from None


Whole = Annotated[int, BeforeValidator(_whole), Field(ge=0, strict=True)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, strict=True)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
BUDGETS = ("max_iterations", "max_nodes", "max_tokens", "max_cost")


class DagConfig(BaseModel):
    """Settings of runs: of a flow, of a workflow, of one run; what is set last wins.

    `max_parallel_nodes`: attempts at once (None: what each executor holds). `limits`: action name or
    tag -> attempts at once, or a rate such as `"60/min"`. `max_attempts`: of each node (1: no retry).
    `timeout_seconds`: of the whole run, pauses not counted. The budgets `max_tokens`, `max_cost`,
    `max_iterations` (length of a chain of growth) and `max_nodes` (nodes added) pause the run when
    they are used up; `branch_budgets` gives the same four to branches by a glob of their ids.
    `review_frequency`: pause for review every so many rounds of growth. `human_wait_minutes`: how long a
    question waits (None: for ever) until `human_timeout_action` applies (`"pause"`: it goes on waiting);
    where the run lay paused meanwhile that is at its next resume, and an answer given then is too late.
    `durability`: `"async"` writes what happened some milliseconds later (a process that is killed loses
    these), `"sync"` before the run goes on, `"exit"` at pauses and the end (or when this session looks).
    `cache_snapshot_interval`: seconds between snapshots of a run under way (0: none), with which also what
    `"exit"` holds back is written; `enable_incremental_cache=False`: results are written with snapshots, at
    pauses and at the end, not as they arrive (`"sync"` overrules it). A bad value raises `ValidationError`
    with field, value and what is allowed.

    >>> DagConfig(max_parallel_nodes=4).max_parallel_nodes
    4
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    max_parallel_nodes: Count | None = None
    enable_parallel_execution: bool = True
    limits: Mapping[str, Annotated[int | str, PlainValidator(_limit)]] = Field(default_factory=dict)
    max_attempts: Count = 1
    retry_strategy: RetryStrategy = RetryStrategy()
    on_failure: Annotated[OnFailure, PlainValidator(_policy)] = OnFailure.CONTINUE
    timeout_seconds: Seconds | None = None
    human_wait_minutes: Amount | None = None
    human_timeout_action: HumanTimeoutAction = HumanTimeoutAction.PAUSE
    max_tokens: Amount | None = None
    max_cost: Amount | None = None
    max_iterations: Whole | None = 50
    max_nodes: Whole | None = None
    branch_budgets: Mapping[str, Mapping[str, Amount]] = Field(default_factory=dict)
    review_frequency: Count | None = None
    enable_incremental_cache: bool = True
    cache_snapshot_interval: Amount = 60
    durability: Literal["sync", "async", "exit"] = "async"

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except pydantic.ValidationError as bad:
            raise _explain(bad, type(self)) from None

    @field_validator("retry_strategy", mode="before")
    @classmethod
    def _strategy(cls, value: Any) -> Any:
        if isinstance(value, str):
            make = {"immediate": RetryStrategy.immediate, "linear": RetryStrategy.linear}.get(value)
            return make() if make is not None else RetryStrategy(value)
        if isinstance(value, Mapping) and len(value) == 1:
            (kind, arguments), *_ = value.items()
            make = getattr(RetryStrategy, kind, None) if kind in ("exponential", "linear") else None
            if make is not None and isinstance(arguments, Mapping):
                try:
                    return make(**arguments)
                except TypeError as bad:
                    raise ValueError(str(bad)) from None
        return value

    @field_validator("branch_budgets")
    @classmethod
    def _budgets(cls, budgets: Mapping[str, Mapping[str, float]]) -> Mapping[str, Mapping[str, float]]:
        for budget in (name for of_branch in budgets.values() for name in of_branch):
            if budget not in BUDGETS:
                raise ValueError(f"{budget!r} is no budget: {did_you_mean(budget, BUDGETS)}")
        return budgets

    @classmethod
    def merge(cls, base: DagConfig | None, override: DagConfig | Mapping[str, Any] | None) -> DagConfig:
        """`base` with the fields that are set in `override` put over it.

        >>> DagConfig.merge(DagConfig(max_attempts=3), {"max_nodes": 9}).max_attempts
        3
        """
        over = cls.of(override)
        below = base.settings() if base is not None else {}
        return cls(**{**below, **over.settings()}) if over is not None else cls(**below)

    @classmethod
    def of(cls, value: DagConfig | Mapping[str, Any] | None) -> DagConfig | None:
        """A config from a config, a mapping of settings, or None."""
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            return cls(**{str(k): v for k, v in value.items()})
        raise ValidationError(
            f"config is a DagConfig or a mapping of its settings, not {shorten(value)}", culprit="config"
        )

    def settings(self) -> dict[str, Any]:
        """The fields that were set, as they are."""
        return {name: getattr(self, name) for name in sorted(self.model_fields_set)}

    def _repr_html_(self) -> str:
        rows = []
        for name in type(self).model_fields:
            value = f"<code>{escape(shorten(getattr(self, name), 300))}</code>"
            value = f"<b>{value}</b>" if name in self.model_fields_set else value
            rows.append(f"<tr><th>{name}</th><td>{value}</td></tr>")
        return f"<table><caption>DagConfig (bold: what was set)</caption>{''.join(rows)}</table>"


def _explain(bad: pydantic.ValidationError, model: type[BaseModel]) -> ValidationError:
    """pydantic's findings as one error of ours that names field, value and what is allowed."""
    lines, culprit, value = [], None, None
    for found in bad.errors(include_url=False):
        field = ".".join(str(part) for part in found["loc"])
        top = str(found["loc"][0]) if found["loc"] else ""
        if found["type"] == "extra_forbidden":
            hint = did_you_mean(top, model.model_fields)
            lines.append(f"{model.__name__} has no setting {field!r}: {hint}")
        else:
            why = found["msg"][0].lower() + found["msg"][1:]
            lines.append(f"{model.__name__}({field}={shorten(found['input'])}): {why}")
        if culprit is None:
            culprit, value = top or field, found["input"]
    return ValidationError("; ".join(lines), culprit=culprit, value=value)

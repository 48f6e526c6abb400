"""The only table of allowed changes of a node's state; the documentation's diagram is drawn from it.

Rules kept here: a change that is not in the table is a mistake of ours and raises; a state never
changes to itself; each change that is listed does happen.
"""

from __future__ import annotations

from .model import NodeStatus as S

# state -> {next state: what brings it about}
TRANSITIONS: dict[S, dict[S, str]] = {
    S.PENDING: {
        S.RUNNING: "ready, and a slot is free",
        S.PAUSED: "its branch is paused, or it asks a person",
        S.RECOVERED: "outputs are given by hand",
        S.SKIPPED: "its rule cannot hold, it is disabled, or the run stops",
        S.CANCELLED: "its branch or the run is cancelled",
    },
    S.RUNNING: {
        S.COMPLETED: "the attempt succeeds",
        S.CACHED: "its result is known",
        S.RETRYING: "the attempt fails, another one is left",
        S.FAILED: "the last attempt fails",
        S.CANCELLED: "its branch or the run is cancelled",
        S.PENDING: "interrupted, its process died, or what it depends on runs again",
    },
    S.RETRYING: {
        S.RUNNING: "the delay is over",
        S.PAUSED: "its branch is paused",
        S.PENDING: "what it depends on runs again",
        S.FAILED: "the run stops",
        S.RECOVERED: "outputs are given by hand",
        S.CANCELLED: "its branch or the run is cancelled",
    },
    S.PAUSED: {
        S.PENDING: "resumed",
        S.RECOVERED: "outputs are given by hand",
        S.FAILED: "nobody answered in time",
        S.SKIPPED: "the run stops",
        S.CANCELLED: "its branch or the run is cancelled",
    },
    S.FAILED: {S.RECOVERED: "a handler, a rescue node or given outputs", S.PENDING: "retried"},
    S.COMPLETED: {S.PENDING: "run again"},
    S.CACHED: {S.PENDING: "run again"},
    S.RECOVERED: {S.PENDING: "run again"},
    S.SKIPPED: {S.PENDING: "what it depends on is retried or recovered"},
    S.CANCELLED: {S.PENDING: "retried, or the cancelled run is resumed"},
}


def to_dot() -> str:
    """The table as a Graphviz graph."""
    lines = ["digraph states {", '  rankdir=LR; node [shape=box style="rounded"];']
    for state, following in TRANSITIONS.items():
        lines += [f'  {state} -> {new} [label="{why}"];' for new, why in following.items()]
    return "\n".join([*lines, "}"])


def to_mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> pending"]
    for state, following in TRANSITIONS.items():
        lines += [f"    {state} --> {new}: {why}" for new, why in following.items()]
    return "\n".join(lines)

"""What it takes to define a workflow: by the builder, and from YAML beside what PyYAML's C loader takes.

    python -m tests.benchmarks.definition [--nodes 10000] [--rounds 5]

A chain whose nodes refer to each other's outputs; the best of the rounds, in microseconds a node.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import yaml

from dagflow_nb import DagFlow, Workflow


def best(call: Callable[[], Any], rounds: int) -> float:
    """Seconds of the fastest of several calls."""
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return min(found)


def text_of(nodes: int) -> str:
    """The same chain in YAML."""
    lines = ["name: chain", "nodes:", "  - {id: n0, action: step, inputs: [{name: x, value: 0}]}"]
    for i in range(1, nodes):
        lines += [f"  - id: n{i}", "    action: step", f"    dependencies: [n{i - 1}]", "    inputs:"]
        lines += ["      - name: x", f"        reference: n{i - 1}.x"]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Measure, print a table, and return it: what -> seconds a node."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with DagFlow(":memory:", echo=False) as flow:

        @flow.action
        def step(x: int) -> dict[str, int]:
            return {"x": x}

        def build() -> None:
            workflow = Workflow("built")
            last = workflow.add(step, id="n0", x=0)
            for i in range(1, chosen.nodes):
                last = workflow.add(step, id=f"n{i}", x=last["x"])
            flow.add_workflow(workflow)

        text = text_of(chosen.nodes)
        seconds = {
            "builder": best(build, chosen.rounds),
            "yaml.load(text, CSafeLoader)": best(lambda: yaml.load(text, Loader=loader), chosen.rounds),
            "flow.load_yaml_string(text)": best(lambda: flow.load_yaml_string(text), chosen.rounds),
        }
    found = {what: taken / chosen.nodes for what, taken in seconds.items()}
    print("| definition | us a node |\n|---|---|")
    for what, share in found.items():
        print(f"| {what} | {share * 1e6:.1f} |")
    plain, ours = list(found.values())[1:]
    print(f"YAML: {ours / plain:.2f} times what the loader alone takes")
    return found


if __name__ == "__main__":
    main()

"""What the live view costs and how soon it shows: a real kernel, JupyterLab and Chromium, no network.

    python tests/benchmarks/view.py [--nodes 1000] [--rounds 5] [--sizes 50,300,1000,10000] [--no-browser]

The time of a cell that runs no-op nodes, with its view against one without: from its beginning to the
kernel's reply, so that all is in it that a person waits for before the next cell begins. The two take turns,
with a pause after each, and the medians are compared, also of the CPU seconds, which are less noisy. Before
each the garbage is collected, so that neither pays for the other. What the
view computes after the cell has ended is a figure of its own: CPU seconds of the kernel and of the helpers
that lay out, in the second after the cell.
Further: the time from an event to the changed pixel, in a page, for every state of a run that a page can
show; the time from `show` to the first drawn graph, by size, and the bytes that went to the page meanwhile;
the time from frame to frame while the states of the biggest size change, ten times a second 200 of them.
Without a browser only the first is measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

SETUP = """
import gc, os, resource, sys, tempfile, time
sys.path.insert(0, {root!r})
os.environ["JPY_SESSION_NAME"] = "benchmark"  # a page is there: the view does all that it does for one
from dagflow_nb import DagConfig, DagFlow, Workflow

def cpu():  # seconds of this process, and of the helpers that it has waited for
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime

def ready(where):
    path = ":memory:" if where == "memory" else os.path.join(tempfile.mkdtemp(), "bench.db")
    flow = DagFlow(path, config=DagConfig(max_parallel_nodes=64), echo=False)
    @flow.action
    async def noop():
        return None
    wf, width = Workflow("bench"), 25
    for i in range({nodes}):
        row = i // width * width
        wf.add(noop, id=f"n{{i}}", after=[f"n{{j}}" for j in (i - width, i - width + 1) if 0 <= j < row])
    return flow, wf
"""
CELL = "began = cpu(); run = flow.run(wf, view={view}); ended = cpu()"
STILL = 1.0
"""Seconds after a cell in which its view comes to rest."""

WATCH = """
() => {
  const seen = window.dagflowSeen = [];
  const painted = (entry) => requestAnimationFrame(() => requestAnimationFrame(() => {
    entry.at = (performance.timeOrigin + performance.now()) / 1000;
    seen.push(entry);
  }));
  window.dagflowFirst = null;
  new MutationObserver((changes) => {
    if (window.dagflowFirst === null && document.querySelector(".dagflow-view .node")) {
      window.dagflowFirst = 0;
      requestAnimationFrame(() => requestAnimationFrame(() => {
        window.dagflowFirst = (performance.timeOrigin + performance.now()) / 1000;
      }));
    }
    for (const { target } of changes) {
      if (target.dataset?.node) painted({ node: target.dataset.node, state: target.dataset.state });
    }
  }).observe(document.body, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["data-state"],
  });
}
"""

RUN = """
import asyncio, json, random
from dagflow_nb import DagFlow, Workflow
flow = DagFlow(":memory:", echo=False)
chance = random.Random(7)
@flow.action
async def step(seconds: float):
    await asyncio.sleep(seconds)
wf = Workflow("latency")
for i in range(60):
    wf.add(step, id=f"n{i}", after=[f"n{i - 6}"] if i >= 6 else [], seconds=chance.uniform(0.15, 0.6))
"""
RUN_NOW = """
run = flow.run(wf)
rows = run.nodes()
at = {name: rows[name].astype("int64") / 1e9 if str(rows[name].dtype).endswith("ns, UTC]")
      else rows[name].astype("int64") / 1e6 for name in ("started_at", "finished_at")}
print("RESULT" + json.dumps([[id, float(a), float(b)] for id, a, b in
                             zip(rows["node_id"], at["started_at"], at["finished_at"])]))
"""

SHOW = """
import time
width = 25
def before(i):
    return tuple(f"n{{j}}" for j in (i - width, i - width + 1) if 0 <= j < i // width * width)
stage = Stage(*[NodeView(id=f"n{{i}}", action=f"step{{i % 7}}", deps=before(i)) for i in range({size})])
begun = time.time()
stage.show()
print("RESULT" + str(begun))
"""

FRAMES = """
() => {
  const gaps = window.dagflowFrames = [];
  let last = performance.now();
  const frame = () => {
    const now = performance.now();
    gaps.push(now - last);
    last = now;
    window.dagflowFrame = requestAnimationFrame(frame);
  };
  cancelAnimationFrame(window.dagflowFrame);
  requestAnimationFrame(frame);
}
"""
MOVE = """
import random, time
from dataclasses import replace
chance, begun, updates = random.Random(7), time.time(), 0
while (now := time.time()) < begun + {seconds}:
    for id in chance.sample(list(stage.nodes), 200):
        node = stage.nodes[id]
        if node.status == "pending":
            stage.nodes[id] = replace(node, status="running", attempt=1, started_at=now)
        else:
            stage.nodes[id] = replace(node, status="completed", finished_at=now)
    stage.view.update(stage.take())
    updates += 1
    time.sleep(max(0.0, begun + 0.1 * updates - time.time()))
print("RESULT" + str(updates))
"""
MOVING = 4


def cost(nodes: int, rounds: int) -> dict[str, Any]:
    """What a cell that runs a graph takes with and without a view, in a kernel of its own; see above."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    sizes: list[int] = []
    printed: list[str] = []

    def read(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])
        elif message["msg_type"] == "error":
            raise RuntimeError("\n".join(message["content"]["traceback"]))
        elif message["msg_type"] in ("comm_open", "comm_msg", "display_data", "update_display_data"):
            sizes.append(len(json.dumps(message["content"])))

    def run(code: str) -> float:
        """Seconds that the kernel takes from the beginning of a cell to its reply, by its own clock."""
        reply = client.execute_interactive(code, timeout=600, output_hook=read)
        began = datetime.fromisoformat(reply["metadata"]["started"].replace("Z", "+00:00"))
        return float((reply["header"]["date"] - began).total_seconds())

    def settle() -> None:
        """Waits until the view is at rest; reads what was sent after its cell."""
        time.sleep(STILL)
        while client.iopub_channel.msg_ready():
            read(client.get_iopub_msg())

    found: dict[str, Any] = {}
    try:
        run(SETUP.format(root=str(ROOT), nodes=nodes))
        for where in ("memory", "file"):
            run(f"flow, wf = ready({where!r})")
            took: dict[bool, list[float]] = {True: [], False: []}
            inside: dict[bool, list[float]] = {True: [], False: []}
            after: dict[bool, list[float]] = {True: [], False: []}
            for number in range(rounds + 1):
                for view in (False, True):
                    run("_ = gc.collect()")
                    seconds = run(CELL.format(view=view))
                    settle()
                    printed.clear()
                    run("print(ended - began, cpu() - ended)")
                    if number:  # the first one imports
                        took[view].append(seconds)
                        for kept, told in zip((inside, after), "".join(printed).split(), strict=True):
                            kept[view].append(float(told))
            found[where] = {
                "without_s": statistics.median(took[False]),
                "with_s": statistics.median(took[True]),
                "cpu_without_s": statistics.median(inside[False]),
                "cpu_with_s": statistics.median(inside[True]),
                "after_s": statistics.median(after[True]) - statistics.median(after[False]),
            }
            found[where]["ratio"] = found[where]["with_s"] / found[where]["without_s"]
            run("flow.close()")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    shown = 2 * (rounds + 1)
    return {**found, "messages_a_run": len(sizes) / shown, "bytes_a_run": sum(sizes) / shown}


@contextmanager
def lab() -> Iterator[Any]:
    """A function that opens a notebook of these cells in JupyterLab, in a Chromium without a network."""
    sys.path.insert(0, str(ROOT))
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import FLAGS, PRELUDE, Notebook, chromium, serving

    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(serving(root))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium(), headless=True, args=FLAGS)
        stack.callback(browser.close)
        numbers = iter(range(1000))

        def open_notebook(*cells: str) -> Any:
            name = f"bench{next(numbers)}.ipynb"
            made = new_notebook(cells=[new_code_cell(cell) for cell in (PRELUDE + cells[0], *cells[1:])])
            made.metadata["kernelspec"] = {
                "name": "python3",
                "display_name": "Python 3",
                "language": "python",
            }
            nbformat.write(made, server.folder / name)
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.received = 0

            def count(frame: Any) -> None:
                page.received += len(frame)

            page.on("websocket", lambda socket: socket.on("framereceived", count))
            notebook = Notebook(page, server, name, root)
            notebook.open_lab()
            notebook.wait_idle()
            page.evaluate(WATCH)
            return notebook

        yield open_notebook


def latency(open_notebook: Any) -> dict[str, float]:
    """Milliseconds from the event of a state to the frame that shows it."""
    notebook = open_notebook(RUN, RUN_NOW)
    notebook.run(0)
    notebook.run(1)
    notebook.page.wait_for_timeout(500)
    events = json.loads(notebook.text(1).split("RESULT", 1)[1].split("\n")[0])
    times = {
        (id, state): at
        for id, *both in events
        for state, at in zip(("running", "completed"), both, strict=True)
    }
    seen = notebook.page.evaluate("window.dagflowSeen")
    waited = sorted(
        1000 * (one["at"] - times[one["node"], one["state"]])
        for one in seen
        if (one["node"], one["state"]) in times
    )
    notebook.page.close()
    if not waited:
        raise RuntimeError("the page showed no state of the run")
    return {
        "seen": len(waited),
        "median_ms": statistics.median(waited),
        "p95_ms": waited[int(0.95 * (len(waited) - 1))],
        "max_ms": waited[-1],
    }


def first_draw(open_notebook: Any, size: int) -> dict[str, float]:
    """Milliseconds from `show` to the first frame with a graph, and bytes until then."""
    notebook = open_notebook("pass", SHOW.format(size=size))
    notebook.run(0)
    before = notebook.page.received
    notebook.run(1)
    notebook.page.wait_for_function("window.dagflowFirst > 0", timeout=60_000)
    shown = notebook.page.evaluate("window.dagflowFirst")
    begun = float(notebook.text(1).split("RESULT", 1)[1].split("\n")[0])
    boxes = notebook.view.locator(".node").count()
    found = {"ms": 1000 * (shown - begun), "bytes": notebook.page.received - before, "boxes": boxes}
    notebook.page.close()
    notebook.server.stop_kernels()
    return found


def fluency(open_notebook: Any, size: int) -> dict[str, dict[str, float]]:
    """Milliseconds from frame to frame while ten times a second 200 nodes change, by what is looked at."""
    notebook = open_notebook("pass", SHOW.format(size=size), *[MOVE.format(seconds=MOVING)] * 3)
    notebook.run(0)
    notebook.run(1)
    notebook.page.wait_for_function("window.dagflowFirst > 0", timeout=60_000)
    found = {}
    for cell, tab in enumerate(("Graph", "Timeline", "Table"), start=2):
        notebook.tab(tab).click()
        notebook.page.wait_for_timeout(500)
        notebook.run(cell, wait=False)
        notebook.page.wait_for_timeout(500)  # the page has other things to do when a cell begins
        notebook.page.evaluate(FRAMES)
        notebook.page.wait_for_timeout(1000 * (MOVING - 1.5))
        gaps = sorted(notebook.page.evaluate("window.dagflowFrames"))
        printed = notebook.page.locator(".jp-CodeCell").nth(cell).locator(".jp-OutputArea-output")
        printed.get_by_text("RESULT").wait_for(timeout=60_000)
        updates = int(notebook.text(cell).split("RESULT", 1)[1].split("\n")[0])
        found[tab] = {
            "updates_s": updates / MOVING,
            "median_ms": statistics.median(gaps),
            "p95_ms": gaps[int(0.95 * (len(gaps) - 1))],
            "max_ms": gaps[-1],
        }
    notebook.page.close()
    notebook.server.stop_kernels()
    return found


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default="50,300,1000,10000")
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    found: dict[str, Any] = {"cost": cost(options.nodes, options.rounds)}
    if not options.no_browser:
        with lab() as open_notebook:
            found["latency"] = latency(open_notebook)
            sizes = [int(size) for size in options.sizes.split(",")]
            found["first_draw"] = {str(size): first_draw(open_notebook, size) for size in sizes}
            found["fluency"] = {str(size): fluency(open_notebook, size) for size in sizes[-1:]}
    if options.json:
        print(json.dumps(found))
        return found
    for where in ("memory", "file"):
        row = found["cost"][where]
        print(
            f"{options.nodes} no-op nodes, {where}: {row['without_s']:.3f} s without a view, "
            f"{row['with_s']:.3f} s with one, x{row['ratio']:.2f} "
            f"(CPU {row['cpu_without_s']:.3f} and {row['cpu_with_s']:.3f} s); "
            f"after it {row['after_s']:.3f} s of CPU"
        )
    print(
        f"{found['cost']['messages_a_run']:.0f} messages, {found['cost']['bytes_a_run'] / 1e3:.0f} kB a run"
    )
    if row := found.get("latency"):
        print(
            f"event to pixel: median {row['median_ms']:.0f} ms, p95 {row['p95_ms']:.0f} ms, "
            f"max {row['max_ms']:.0f} ms ({row['seen']} states)"
        )
    for size, row in found.get("first_draw", {}).items():
        print(
            f"first draw of {size} nodes: {row['ms']:.0f} ms, {row['bytes'] / 1e3:.0f} kB, "
            f"{row['boxes']} boxes"
        )
    for size, tabs in found.get("fluency", {}).items():
        for tab, row in tabs.items():
            print(
                f"{tab} of {size} nodes, {row['updates_s']:.1f} updates a second: from frame to frame median "
                f"{row['median_ms']:.0f} ms, p95 {row['p95_ms']:.0f} ms, max {row['max_ms']:.0f} ms"
            )
    print(f"({time.perf_counter() - started:.0f} s in all)")
    return found


if __name__ == "__main__":
    main()

"""JupyterLab and Notebook 7 on loopback, driven in an offline Chromium.

One server for the session, one browser for a module (Playwright's loop must not be running while other
modules use asyncio). Every host but loopback is blocked, so that a page that passes needs nothing from
outside. Without Chromium these tests fail, and say so: set DAGFLOW_CHROMIUM to its path if it is elsewhere.
Screenshots go to the folder DAGFLOW_SCREENSHOTS, else to one under the test session's temporary folder.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FAILED = pytest.StashKey[bool]()
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
PRELUDE = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom stage import *\n"


@dataclass
class Server:
    """A running Jupyter server: where it is, and the folder its notebooks are in."""

    url: str
    folder: Path

    def ask(self, path: str, method: str = "GET") -> Any:
        with urllib.request.urlopen(urllib.request.Request(self.url + path, method=method)) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def stop_kernels(self) -> None:
        for session in self.ask("/api/sessions"):
            self.ask(f"/api/sessions/{session['id']}", "DELETE")


def chromium() -> str:
    path = os.environ.get("DAGFLOW_CHROMIUM", "/usr/bin/chromium")
    if not Path(path).exists():
        pytest.fail(
            f"the browser tests need Chromium, and there is none at {path}: "
            "apt-get install chromium, or set DAGFLOW_CHROMIUM to its path",
            pytrace=False,
        )
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Remembers that a test has failed: its page's last screenshot is worth keeping."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@contextmanager
def serving(root: Path) -> Iterator[Server]:
    """A Jupyter server that writes into this folder only, with the package from this tree."""
    chromium()
    names = ("CONFIG_DIR", "RUNTIME_DIR", "DATA_DIR")
    env = {**os.environ, **{f"JUPYTER_{name}": str(root / name.lower()) for name in names}}
    env |= {f"JUPYTERLAB_{name}_DIR": str(root / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    env |= {"IPYTHONDIR": str(root / "ipython"), "PYTHONPATH": str(ROOT)}
    # All cells are in the page, wherever it is scrolled to: some versions take out those that are not seen.
    settings = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in settings.items():
        path = root / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    (root / "notebooks").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--IdentityProvider.token=", "--ServerApp.password="]
    command += ["--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={root / 'notebooks'}"]
    command += ["--LabApp.extension_manager=readonly"]
    log = root / "server.log"
    with log.open("w") as out, subprocess.Popen(command, env=env, stdout=out, stderr=out) as process:
        server = Server(f"http://127.0.0.1:{port}", root / "notebooks")
        deadline = time.monotonic() + 60
        while True:
            try:
                server.ask("/api/status")
                break
            except (OSError, urllib.error.URLError):
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"the Jupyter server does not start:\n{log.read_text()}", pytrace=False)
                time.sleep(0.1)
        try:
            yield server
            server.stop_kernels()
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Jupyter server for the session."""
    with serving(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The browser's folder: modules share it, and so JupyterLab's cached files."""
    return tmp_path_factory.mktemp("chromium")


@pytest.fixture(scope="module")
def context(profile: Path) -> Iterator[Any]:
    """A Chromium that reaches nothing but loopback."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=path,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 960},
        )
        context.set_default_timeout(20_000)
        yield context
        context.close()


@pytest.fixture
def page(context: Any, screenshots: Path, request: Any) -> Iterator[Any]:
    """A page; a test with an error in the widget's code, or a request to elsewhere, fails."""
    page = context.new_page()
    wrong: list[str] = []

    def on_error(error: Any) -> None:
        stack = error.stack or ""
        if "blob:" in stack or "anywidget" in stack:  # the front ends have errors of their own
            wrong.append(f"{error.message}\n{stack}")

    def on_failed(request: Any) -> None:
        if request.url.startswith("http") and not request.url.startswith("http://127.0.0.1"):
            wrong.append(request.url)

    page.on("pageerror", on_error)
    page.on("requestfailed", on_failed)
    yield page
    if request.node.stash.get(FAILED, False):
        page.screenshot(path=str(screenshots / f"failed-{request.node.name}.png"))
    page.close()
    assert not wrong, wrong


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that screenshots go to."""
    folder = os.environ.get("DAGFLOW_SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("shots") / "screenshots"
    path.mkdir(parents=True, exist_ok=True)
    return path


@dataclass
class Notebook:
    """A notebook that is open in the page."""

    page: Any
    server: Server
    name: str
    screenshots: Path
    opened: int = field(default=0)

    @property
    def view(self) -> Any:
        return self.page.locator(".dagflow-view")

    def node(self, id: str, state: str | None = None) -> Any:
        state_is = f"[data-state='{state}']" if state else ""
        return self.view.locator(f".node[data-node='{id}']{state_is}")

    def button(self, name: str) -> Any:
        return self.view.get_by_role("button", name=name, exact=True)

    def tab(self, name: str) -> Any:
        return self.view.get_by_role("tab", name=name, exact=True)

    def open_lab(self) -> None:
        self.opened += 1
        workspace = f"{Path(self.name).stem}-{self.opened}"
        self.page.goto(f"{self.server.url}/lab/workspaces/{workspace}/tree/{self.name}?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")

    def open_nb7(self) -> None:
        self.page.goto(f"{self.server.url}/notebooks/{self.name}")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")

    def wait_idle(self) -> None:
        """Waits until the notebook has a kernel, and the kernel nothing to do: before, keys open dialogs."""
        deadline = time.monotonic() + 60
        while not any(
            found["path"] == self.name and found["kernel"]["execution_state"] == "idle"
            for found in self.server.ask("/api/sessions")
        ):
            assert time.monotonic() < deadline, "the kernel does not start"
            self.page.wait_for_timeout(100)
        self.page.wait_for_selector(
            ".jp-Notebook-ExecutionIndicator[data-status=idle]", state="attached", timeout=40_000
        )

    def run(self, cell: int, *, wait: bool = True) -> None:
        """Runs one cell (0 is the first) with the keyboard, and waits for its end."""
        editor = self.page.locator(".jp-CodeCell").nth(cell).locator(".jp-InputArea-editor")
        editor.scroll_into_view_if_needed()
        editor.click()
        self.page.keyboard.press("Control+Enter")
        if wait:
            prompt = self.page.locator(".jp-CodeCell").nth(cell).locator(".jp-InputPrompt")
            self.page.wait_for_function("e => /\\[\\d+\\]/.test(e.textContent)", arg=prompt.element_handle())

    def text(self, cell: int) -> str:
        """The text that a cell printed."""
        return str(self.page.locator(".jp-CodeCell").nth(cell).locator(".jp-OutputArea").inner_text())

    def save(self) -> dict[str, Any]:
        """Saves, and returns the notebook as it is in the file."""
        self.page.keyboard.press("Control+s")
        self.page.wait_for_selector(".jp-DirtyIndicator, .jp-mod-dirty", state="detached")
        path = self.server.folder / self.name
        self.page.wait_for_function("() => true")
        return dict(json.loads(path.read_text()))

    def shot(self, name: str) -> None:
        self.page.screenshot(path=str(self.screenshots / f"{name}.png"), animations="disabled")


@pytest.fixture
def notebook(page: Any, server: Server, screenshots: Path, request: Any) -> Iterator[Callable[..., Notebook]]:
    """Makes a notebook of these cells and opens it, in JupyterLab or (`lab=False`) in Notebook 7."""

    def make(*cells: str, lab: bool = True) -> Notebook:
        import nbformat
        from nbformat.v4 import new_code_cell, new_notebook

        made = new_notebook(cells=[new_code_cell(cell) for cell in (PRELUDE + cells[0], *cells[1:])])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        name = f"{request.node.name.replace('[', '-').rstrip(']')}.ipynb"
        nbformat.write(made, server.folder / name)
        opened = Notebook(page, server, name, screenshots)
        if lab:
            opened.open_lab()
        else:
            opened.open_nb7()
        opened.wait_idle()
        return opened

    yield make
    server.stop_kernels()


@pytest.fixture
def shipped(page: Any, server: Server, screenshots: Path, request: Any) -> Callable[..., Notebook]:
    """Copies a notebook of the project and opens it."""

    def open_copy(path: Path, *, lab: bool = True) -> Notebook:
        name = f"{request.node.name.replace('[', '-').rstrip(']')}.ipynb"
        shutil.copy(path, server.folder / name)
        opened = Notebook(page, server, name, screenshots)
        if lab:
            opened.open_lab()
        else:
            opened.open_nb7()
        return opened

    return open_copy

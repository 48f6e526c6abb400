"""The package as a whole: what it is made of, what it imports and in which order, what a wheel holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import dagflow_nb

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dagflow_nb"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# What each part may import at its top: parts of its own row and of the rows above. Inside functions too, but
# for drawing (`notebook`), which a repr needs only once something is shown.
LAYERS = [
    ["errors", "api", "executor", "people", "replay"],
    ["core", "files"],
    [
        *["actions", "cache", "clock", "codec", "config", "nested", "threads", "workflow"],
        *["agents.plan", "agents.plan_schema", "agents.steps", "people.checking", "people.forms"],
    ],
    ["fingerprint", "history", "hooks", "store"],
    ["runtime"],
    ["notebook"],
    ["agents"],
    ["api.comparing", "api.lineage", "api.outcomes", "people.answers", "replay.fixtures"],
    ["api.looking"],
    ["api.run", "executor.legacy"],
    ["api.preview"],
    ["api.blocking", "api.controls", "api.definitions", "api.forks", "api.records"],
    ["agents.defining", "executor.coordinator", "executor.executor", "executor.inspecting"],
    ["api.flow"],
    ["notebook.magics"],
    ["replay.replaying"],
    ["", "testing"],
    ["__main__", "cli"],
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
PURE = {"__future__", "abc", "bisect", "collections", "dataclasses", "enum", "fnmatch", "functools"}
PURE |= {"heapq", "itertools", "math", "numbers", "operator", "re", "types", "typing"}
HEAVY = ["IPython", "anywidget", "dask", "graphviz", "ipywidgets", "jsonschema", "matplotlib", "nest_asyncio"]
HEAVY += ["numpy", "pandas", "polars", "pyarrow", "pygraphviz", "tqdm"]


def imports(path: Path, *, top_level_only: bool) -> Iterator[tuple[str, str]]:
    """(module, name) of each import that happens at run time; relative ones made absolute."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)

    def visit(node: ast.AST) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if top_level_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, "") for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                above = module.split(".")[: -child.level] if child.level else []
                yield from ((".".join([*above, *filter(None, [child.module])]), a.name) for a in child.names)
            else:
                yield from visit(child)

    return visit(ast.parse(path.read_text()))


def imported_modules(path: Path, *, top_level_only: bool) -> set[str]:
    """The package's own modules that a file imports."""
    found = set()
    for module, name in imports(path, top_level_only=top_level_only):
        if module.split(".")[0] == "dagflow_nb":
            inner = f"{module}.{name}"
            found.add(inner if inner in MODULES else module)
    return found


def part(module: str) -> str:
    """The part of the package that a module belongs to: `store` for `dagflow_nb.store.sqlite`."""
    inner = module.removeprefix("dagflow_nb").removeprefix(".")
    return inner if inner in RANK else inner.split(".")[0]


def test_every_module_belongs_to_a_layer() -> None:
    """Each module's place among the layers is written down above."""
    assert {part(module) for module in MODULES} <= set(RANK)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    """A module imports nothing from a layer above its own; inside functions nothing but drawing."""
    mine = RANK.get(part(module), 0)
    at_top = imported_modules(MODULES[module], top_level_only=True)
    anywhere = imported_modules(MODULES[module], top_level_only=False)
    assert {other for other in at_top if RANK[part(other)] > mine} == set()
    assert {other for other in anywhere if RANK[part(other)] > mine and part(other) != "notebook"} == set()


def test_imports_form_no_cycle() -> None:
    """What modules import when they are imported forms no circle, not even within a layer."""
    edges = {module: imported_modules(path, top_level_only=True) for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way, module])
        if module not in done:
            for other in edges.get(module, ()):
                if other != module:
                    visit(other, (*way, module))
            done.add(module)

    for module in edges:
        visit(module, ())


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) == "core"])
def test_the_core_is_pure(module: str) -> None:
    """`core` imports itself, the errors, and of the standard library only what does nothing to the world."""
    for name, _ in imports(MODULES[module], top_level_only=False):
        assert name.split(".")[0] in PURE or name == "dagflow_nb.errors" or part(name) == "core", name


@pytest.mark.parametrize(
    ("program", "absent"),
    [("import dagflow_nb", [*HEAVY, "pydantic", "yaml"]), ("from dagflow_nb import DagFlow", HEAVY)],
)
def test_importing_the_package_is_light(program: str, absent: list[str]) -> None:
    """Importing the package imports none of the big ones, so that it stays quick."""
    command = [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"]
    loaded = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    assert set(loaded.stdout.decode().split()).isdisjoint(absent)


def test_the_version_is_the_same_everywhere() -> None:
    """`dagflow_nb.__version__` is that of the project, of the installed metadata and of the changelog."""
    assert dagflow_nb.__version__ == PROJECT["version"] == metadata.version("dagflow-nb")
    assert f"## [{dagflow_nb.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_all_is_complete_and_importable() -> None:
    """Each name of `__all__` exists, is there once, and has a docstring unless it is a plain value."""
    assert len(set(dagflow_nb.__all__)) == len(dagflow_nb.__all__)
    for name in dagflow_nb.__all__:
        value = getattr(dagflow_nb, name)
        assert not callable(value) or value.__doc__, name


def test_no_module_is_too_long() -> None:
    """A module has at most 500 lines."""
    assert {m: n for m, path in MODULES.items() if (n := len(path.read_text().splitlines())) > 500} == {}


def test_lock_file_names_no_host() -> None:
    """The pinned versions name no server, and there is one for each dependency of the package."""
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock and "--" not in lock
    pinned = {line.split("==")[0] for line in lock.splitlines()}
    assert {re.match(r"[\w-]+", text)[0] for text in PROJECT["dependencies"]} <= pinned  # type: ignore[index]


def test_a_wheel_holds_what_the_package_needs(tmp_path: Path) -> None:
    """Each file of the package is in the wheel, with the example notebooks, the licence and nothing else."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    files = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    expected = {file for file in files if "__pycache__" not in file}
    expected |= {f"dagflow_nb/examples/{path.name}" for path in ROOT.glob("notebooks/*.ipynb")}
    assert expected - held == set()
    assert {name for name in held - expected if ".dist-info/" not in name} == set()
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert {"dagflow_nb/py.typed", "dagflow_nb/cli/demo_pipeline.yaml"} <= held

"""What `dagflow demo` runs: a pipeline of five nodes over the Python distributions installed here.

The records are real, so is what happens to them: distributions whose metadata state no licence make
the graph grow by a node each, and of two analyses that run at the same time one reads what the other is
still writing: it finds the file locked, fails, and is tried again. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import ActionRegistry, AddNodes, DagFlow, NodeCtx, NodeSpec, RetryStrategy, Run, ref
from .tables import as_text

DATABASE = "dagflow-demo.db"
PICTURE = "dagflow-demo.svg"
PIPELINE = Path(__file__).with_name("demo_pipeline.yaml")
MOST_NEW_NODES = 4
MOST_FILES = 100

actions = ActionRegistry()


@dataclass(frozen=True)
class Package:
    """One distribution, tidied up; `licence` is empty where the metadata do not state it."""

    name: str
    version: str
    licence: str
    needs: list[str]
    optional: list[str]


def installed() -> list[dict[str, Any]]:
    """A record for each distribution on `sys.path`, as its metadata state it, mistakes included."""
    records = []
    for found in metadata.distributions():
        stated = found.metadata.json
        records.append(
            {
                "name": stated.get("name"),
                "version": stated.get("version"),
                "licence": stated.get("license_expression") or stated.get("license"),
                "requires": list(found.requires or ()),
            }
        )
    return records


def canonical(name: str) -> str:
    """A distribution's name as it is compared.

    >>> canonical("Typing_Extensions")
    'typing-extensions'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


# -- the actions of the five nodes ----------------------------------------------------------------


@actions.action
def validate_data(raw_data: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep the records with a name and a version, each distribution once; tell what the others lack."""
    valid, dropped, seen = [], [], set()
    for record in raw_data:
        name = record.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"\w|\w[\w.-]*\w", name):
            dropped.append(f"{name!r}: no name of a distribution")
        elif not re.match(r"v?\d", record.get("version") or ""):
            dropped.append(f"{name}: no version, but {record.get('version')!r}")
        elif canonical(name) in seen:
            dropped.append(f"{name} {record['version']}: a second copy, hidden by the first")
        else:
            seen.add(canonical(name))
            valid.append(record)
    if not valid:
        raise ValueError(f"none of the {len(raw_data)} records is valid: {dropped[:3]}")
    return {"valid_data": valid, "dropped": dropped}


@actions.action
def handle_validation_error(error: str, ctx: NodeCtx) -> None:
    """Runs only if `validate_data` fails for good: says where the records come from."""
    ctx.log(f"{error}. The records are those of importlib.metadata.distributions().", level="ERROR")


@actions.action
def transform_customer_data(data: list[dict[str, Any]]) -> dict[str, list[Package]]:
    """Tidy names, licences and requirements."""
    return {"transformed": sorted((_package(record) for record in data), key=lambda package: package.name)}


def _package(record: Mapping[str, Any]) -> Package:
    needs: set[str] = set()
    optional: set[str] = set()
    for requirement in record["requires"]:
        wanted, _, condition = requirement.partition(";")
        name = re.match(r"[\w.-]*\w", wanted.strip())
        if name:
            (optional if condition.strip() else needs).add(canonical(name[0]))
    licence = " ".join((record["licence"] or "").split())
    if licence.upper() == "UNKNOWN" or len(licence) > 60:  # some paste the whole text of the licence
        licence = ""
    return Package(
        canonical(record["name"]), record["version"], licence, sorted(needs), sorted(optional - needs)
    )


@actions.action
def analyze_type_a(data: list[Package], ctx: NodeCtx) -> dict[str, Any]:
    """How big is each distribution, and are its Python files still what it recorded?

    All findings go into a shared file in one transaction, held from the first to the last of them, so that
    nobody reads half a table.
    """
    changed: list[str] = []
    sizes: dict[str, int] = {}
    checked = 0
    with closing(sqlite3.connect(ctx.app_data["findings"], isolation_level=None)) as findings:
        findings.execute("begin exclusive")
        findings.execute("create table packages (name, bytes, changed)")
        for done, package in enumerate(data, start=1):
            files = metadata.files(package.name) or []
            python_files = [file for file in files if file.suffix == ".py" and file.hash][:MOST_FILES]
            altered = [str(file) for file in python_files if not _is_as_recorded(file)]
            sizes[package.name] = sum(file.size or 0 for file in files)
            findings.execute(
                "insert into packages values (?, ?, ?)", (package.name, sizes[package.name], len(altered))
            )
            changed += altered
            checked += len(python_files)
            ctx.progress(done / len(data), package.name)
        findings.execute("commit")
    largest = dict(Counter(sizes).most_common(5))
    return {"analysis_a": {"packages": len(data), "checked": checked, "changed": changed, "largest": largest}}


def _is_as_recorded(file: metadata.PackagePath) -> bool:
    """Whether a file still has the hash that its distribution recorded for it."""
    assert file.hash is not None  # only such files are asked about
    try:
        with open(file.locate(), "rb") as content:
            digest = hashlib.file_digest(content, file.hash.mode).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value


# This one starts at the same time as `analyze_type_a` and reads the table that is being written there. It
# does not wait for the lock (timeout=0), as that would block a thread: it fails at once with "database is
# locked" (or "no such table", should it come even before the lock), and the pause before its next attempt
# costs nothing. This is the attempt that is seen to fail in the demo.
@actions.action(retries=9, retry_on=sqlite3.OperationalError, retry_strategy=RetryStrategy.linear(delay=2))
def analyze_type_b(data: list[Package], ctx: NodeCtx) -> dict[str, Any]:
    """Who requires whom, is it there, and how much comes along?"""
    needs = {package.name: package.needs for package in data}
    required = Counter(needed for package in data for needed in package.needs)
    reached = {name: _reached(name, needs) for name in needs}
    with closing(sqlite3.connect(ctx.app_data["findings"], timeout=0)) as findings:
        sizes: dict[str, int] = dict(findings.execute("select name, bytes from packages"))
    along = {name: sum(sizes.get(other, 0) for other in reached[name]) for name in needs}
    return {
        "analysis_b": {
            "most_required": dict(required.most_common(5)),
            "missing": [
                f"{name} needs {other}" for name in needs for other in needs[name] if other not in needs
            ],
            "brings_along": dict(Counter(along).most_common(5)),
            "licences": dict(Counter(package.licence or "not stated" for package in data).most_common(5)),
        }
    }


def _reached(name: str, needs: Mapping[str, list[str]]) -> set[str]:
    """What a distribution requires, directly or not.

    >>> sorted(_reached("a", {"a": ["b"], "b": ["c"], "c": ["a"]}))
    ['b', 'c']
    """
    reached: set[str] = set()
    open_ends = [name]
    while open_ends:
        new = set(needs.get(open_ends.pop(), ())) - reached
        reached |= new
        open_ends.extend(new)
    return reached - {name}


@actions.action
def generate_report(analysis_a: dict[str, Any], analysis_b: dict[str, Any]) -> dict[str, str]:
    """Both analyses as a text in Markdown."""
    lines = [
        f"# {analysis_a['packages']} installed distributions",
        f"- Python files checked: {analysis_a['checked']}, changed since: {_list(analysis_a['changed'])}",
        f"- largest: {_megabytes(analysis_a['largest'])}",
        f"- most required: {_list(f'{name} {n}x' for name, n in analysis_b['most_required'].items())}",
        f"- brings along most: {_megabytes(analysis_b['brings_along'])}",
        f"- required, but not installed: {_list(analysis_b['missing'])}",
        f"- licences: {_list(f'{name} {n}x' for name, n in analysis_b['licences'].items())}",
    ]
    return {"final_report": "\n".join(lines)}


def _megabytes(sizes: Mapping[str, int]) -> str:
    return _list(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items())


def _list(items: Iterable[str]) -> str:
    listed = list(items)
    return (", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")) or "none"


# -- what the graph grows by ----------------------------------------------------------------------


def look_for_licences(outputs: Mapping[str, Any]) -> AddNodes | None:
    """A hook, after `transform_data`: a node for each distribution without a stated licence.

    A last node adds what they find to the report. Nothing is added where nothing is missing.
    """
    unstated = [package.name for package in outputs["transformed"] if not package.licence][:MOST_NEW_NODES]
    if not unstated:
        return None
    searches = [NodeSpec("find_licence", id=f"licence_of_{name}", inputs={"name": name}) for name in unstated]
    ids = [f"licence_of_{name}" for name in unstated]
    addition = NodeSpec(
        "extend_report",
        id="licence_report",
        deps=["combine_results", *ids],
        inputs={"report": ref("combine_results.final_report"), "found": [ref(f"{id}.found") for id in ids]},
    )
    return AddNodes([*searches, addition])


@actions.action
def find_licence(name: str) -> dict[str, str]:
    """Look for a distribution's licence where people read it: in the classifiers, then in the files."""
    found = metadata.distribution(name)
    for classifier in found.metadata.get_all("Classifier") or ():
        if classifier.startswith("License :: "):
            return {"found": f"{name}: {classifier.rsplit(' :: ', 1)[-1]} (classifier)"}
    for file in found.files or ():
        if re.search(r"licen[cs]e|copying", file.name, re.IGNORECASE) and file.suffix not in (".py", ".pyc"):
            title = next((line.strip() for line in file.read_text().splitlines() if line.strip()), "empty")
            return {"found": f"{name}: {title[:60]} ({file.name})"}
    return {"found": f"{name}: none found"}


@actions.action
def extend_report(report: str, found: list[str]) -> dict[str, str]:
    """The report with the licences that had to be looked for."""
    return {"final_report": "\n".join([report, *(f"- licence of {line}" for line in found)])}


# -- the command ----------------------------------------------------------------------------------


def run_demo(folder: Path) -> Run:
    """Run the pipeline on the database `dagflow-demo.db` in `folder`; a failed run is returned too.

    Prints the report and the history, and draws the grown graph to `dagflow-demo.svg`.
    """
    database, picture = folder / DATABASE, folder / PICTURE
    with tempfile.TemporaryDirectory(prefix="dagflow-demo-") as scratch:
        shared = {"findings": str(Path(scratch, "findings.db"))}
        with DagFlow(f"sqlite:{database}", registry=actions, app_data=shared) as flow:
            flow.on_completed(node="transform_data")(look_for_licences)
            flow.load_yaml_file(PIPELINE)
            records = installed()
            print(f"{len(records)} installed distributions go through {PIPELINE.name}.\n")
            run = flow.run("data_processing_pipeline", customer_data=records, raise_on_failure=False)
            run.graph().save(picture)
            _print_history(flow, run)
    print(f"\nThe graph: {picture}\nThe database: {database} (look at it with: dagflow runs --db {DATABASE})")
    return run


def _print_history(flow: DagFlow, run: Run) -> None:
    report = run.outputs.get("licence_report") or run.outputs.get("combine_results") or {}
    print(report.get("final_report", f"There is no report: the run is {run.status}."))
    runs = flow.runs(limit=5).reset_index()
    tables = {
        "runs": runs[["run_id", "status", "started_at", "duration", "nodes", "attempts"]],
        "nodes": run.nodes()[["node_id", "status", "attempts", "waited", "duration", "added_by"]],
        "attempts": run.attempts()[["node_id", "attempt", "status", "duration", "error"]],
    }
    for title, table in tables.items():
        print(f"\n{title}\n{as_text(table)}")

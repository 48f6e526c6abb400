"""The command `dagflow`: run workflows, look at their history, draw them, go on with them.

Everything it does is done by `DagFlow`; here are only arguments, texts and exit statuses. What takes
long to import is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ActionNotFound, DagError, ValidationError, shorten
from .tables import as_text

if TYPE_CHECKING:
    from ..api.flow import DagFlow
    from ..api.run import Run

SUCCESS, FAILED, WRONG_USE, PAUSED, INTERRUPTED = 0, 1, 2, 3, 130
DATABASE = "dagflow.db"
NODE_COLUMNS = ["node_id", "action", "status", "attempts", "duration", "error"]

EPILOG = """\
exit status:
  0  success
  1  the run failed or was cancelled
  2  wrong use: an unknown file, workflow, run, action or input, a database that cannot be used
  3  the run is paused (dagflow resume goes on with it)
  130  interrupted with Ctrl-C (dagflow resume goes on with the run)

examples:
  dagflow demo
  dagflow run pipeline.yaml --actions steps.py --input source=database --input limit=10
  dagflow runs --status failed
  dagflow show pipeline.yaml -o pipeline.svg
  dagflow show 2036ee -o run.png
  dagflow resume --actions steps.py --answer approved=true
"""

ACTIONS_HELP = """\
the Python file or importable module that has the actions (may be given several times). Of what it
defines, these are used: the functions decorated with the `action` of a DagFlow or an ActionRegistry made
there, and that DagFlow's hooks; subclasses and instances of NodeAction; and, for names that are still
missing, its plain public functions of the same name. Default: the Python file beside FILE that has the
same name, if there is one"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (None: those of the process) and return the exit status."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except DagError as problem:
        hint = "; name the file or module that defines it: --actions FILE.py"
        print(f"dagflow: {problem}{hint if isinstance(problem, ActionNotFound) else ''}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print(
            "dagflow: interrupted; to go on with the run: dagflow resume --actions ...",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:  # dagflow runs | head
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCESS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dagflow",
        description="Run workflows of Python functions, and look at what they did.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        added.set_defaults(command=command)
        return added

    add("demo", _demo, "run a pipeline over the installed Python distributions, in the current folder")

    run = add("run", _run, "run the workflow of a YAML file")
    run.add_argument("file", metavar="FILE.yaml", help="the workflow")
    run.add_argument(
        "--load",
        metavar="FILE.yaml",
        action="append",
        default=[],
        help="another workflow that the first one uses (may be given several times)",
    )
    run.add_argument("--run-id", metavar="ID", help="the new run's id (default: one is made)")
    _running(run)

    runs = add("runs", _runs, "list the runs of a database, newest first")
    runs.add_argument("--dag", metavar="NAME", help="only those of this workflow")
    runs.add_argument("--status", metavar="STATUS", help="only those in this state, e.g. failed")
    runs.add_argument("--limit", metavar="N", type=int, default=20, help="at most so many (default: 20)")
    _database(runs)

    show = add("show", _show, "show a run, or the workflow of a YAML file, and draw its graph")
    show.add_argument("what", metavar="RUN|FILE", help="the beginning of a run's id, a workflow, or a file")
    show.add_argument(
        "-o", "--output", metavar="PICTURE", help="write the graph to this file: .svg, .png, .pdf or .dot"
    )
    _database(show)

    resume = add("resume", _resume, "go on with a run that was paused, interrupted or cancelled, or failed")
    resume.add_argument(
        "run", metavar="RUN", nargs="?", help="the beginning of its id (default: the latest unfinished run)"
    )
    resume.add_argument(
        "--answer",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="what a person answers to a run that waits for it (may be given several times)",
    )
    resume.add_argument("--branch", metavar="NODE", help="resume only this paused branch")
    _running(resume)

    lab = add("lab", _lab, "open copies of the example notebooks in JupyterLab")
    lab.add_argument(
        "--folder",
        metavar="PATH",
        default="dagflow-notebooks",
        help="where the copies go; those that are there are kept (default: %(default)s)",
    )
    lab.add_argument("options", nargs="*", help="for JupyterLab, after --: dagflow lab -- --no-browser")

    return parser


def _running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--actions", metavar="FILE.py|MODULE", action="append", default=[], help=ACTIONS_HELP)
    parser.add_argument(
        "--input",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an input of the run; VALUE is read as YAML, so that 3, true, [a, b] and 2026-01-31 have their "
        "types; a text that looks like one of these is quoted: --input zip='\"01234\"'",
    )
    _database(parser)


def _database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--db", metavar="PATH", default=DATABASE, help="the database with the runs (default: %(default)s)"
    )


# -- the commands ---------------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> int:
    from .demo import run_demo

    return _status(run_demo(Path.cwd()))


def _run(arguments: argparse.Namespace) -> int:
    from .actions_file import flow_with_actions

    inputs = _pairs(arguments.input, "--input")
    beside = Path(arguments.file).with_suffix(".py")
    sources = arguments.actions or ([str(beside)] if beside.is_file() else [])
    with flow_with_actions(sources, arguments.db) as flow:
        for file in arguments.load:
            flow.load_yaml_file(_existing(file))
        workflow = flow.load_yaml_file(_existing(arguments.file))
        # by keyword, as unknown names are refused then; but for those that are settings of `run`
        own = {key: inputs.pop(key) for key in list(inputs) if key in signature(flow.run).parameters}
        run = flow.run(workflow.name, own, run_id=arguments.run_id, raise_on_failure=False, **inputs)
        return _report(run, sources, arguments.db)


def _resume(arguments: argparse.Namespace) -> int:
    from .actions_file import flow_with_actions

    inputs, answers = _pairs(arguments.input, "--input"), _pairs(arguments.answer, "--answer")
    _existing(arguments.db, "database")
    with flow_with_actions(arguments.actions, arguments.db) as flow:
        run = flow.resume(
            arguments.run,
            branch=arguments.branch,
            inputs=inputs or None,
            answers=answers or None,
            raise_on_failure=False,
        )
        return _report(run, arguments.actions, arguments.db)


def _runs(arguments: argparse.Namespace) -> int:
    _existing(arguments.db, "database")
    with _flow(arguments.db) as flow:
        runs = flow.runs(dag_name=arguments.dag, status=arguments.status, limit=arguments.limit)
        if runs.empty:
            print(f"{arguments.db} has no such run.")
        else:
            columns = ["run_id", "dag_name", "status", "started_at", "duration", "nodes", "failed", "error"]
            print(as_text(runs.reset_index()[columns]))
    return SUCCESS


def _show(arguments: argparse.Namespace) -> int:
    if Path(arguments.what).suffix in (".yaml", ".yml"):
        with _flow(":memory:") as flow:
            workflow = flow.load_yaml_file(_existing(arguments.what))
            print(f"{workflow.name}: {workflow.description}".rstrip(": "))
            for node in workflow.nodes.values():
                after = f"  after {', '.join(node.deps)}" if node.deps else ""
                print(f"  {node.id}  ({node.action}){after}")
            _draw(flow.graph(workflow), arguments.output)
        return SUCCESS
    _existing(arguments.db, "database")
    with _flow(arguments.db) as flow:
        run = flow.get(arguments.what)
        print(f"run {run.run_id} of {run.dag_name}: {run.status}")
        print(as_text(run.nodes()[NODE_COLUMNS]))
        _draw(run.graph(), arguments.output)
    return SUCCESS


def _lab(arguments: argparse.Namespace) -> int:
    if not _has_module("jupyterlab"):
        print("dagflow: JupyterLab is not installed: pip install 'dagflow-nb[lab]'", file=sys.stderr)
        return WRONG_USE
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for notebook in sorted(_example_notebooks().glob("*.ipynb")):
        if not (folder / notebook.name).exists():
            shutil.copy(notebook, folder)
    return _wait_for([sys.executable, "-m", "jupyterlab", str(folder), *arguments.options])


# -- what they share ------------------------------------------------------------------------------


def _version() -> str:
    from .. import __version__

    return __version__


def _flow(database: str) -> DagFlow:
    from .. import DagFlow

    return DagFlow(database)


def _existing(path: str, what: str = "file") -> str:
    """`path`, if there is such a file; looking at a database must not make an empty one."""
    plain = path.removeprefix("sqlite:")
    if not Path(plain).is_file():
        hint = "give its path with --db" if what == "database" else "check its name and the current folder"
        raise ValidationError(f"there is no {what} {plain!r}: {hint}", culprit=path)
    return path


def _pairs(texts: Iterable[str], option: str) -> dict[str, Any]:
    """`["a=1", "b=[x]"]` as `{"a": 1, "b": ["x"]}`."""
    import yaml

    pairs: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ValidationError(f"{option} takes KEY=VALUE, not {text!r}", culprit=option, value=text)
        try:
            pairs[key] = yaml.safe_load(value) if value else ""  # null is written as such
        except yaml.YAMLError:
            pairs[key] = value  # a text such as "a: b: c", which is no YAML
    return pairs


def _status(run: Run) -> int:
    return {"completed": SUCCESS, "paused": PAUSED, "interrupted": INTERRUPTED}.get(str(run.status), FAILED)


def _report(run: Run, sources: Iterable[str], database: str) -> int:
    """Say how a run ended, and what to type next."""
    options = [part for source in sources for part in ("--actions", source)]
    options += [] if database == DATABASE else ["--db", database]
    resume = shlex.join(["dagflow", "resume", run.run_id, *options])
    print(as_text(run.nodes()[NODE_COLUMNS]))
    print(f"run {run.run_id} of {run.dag_name}: {run.status}")
    status = _status(run)
    if status == SUCCESS:
        _print_result(run.result)
    elif status == PAUSED:
        for waiting in run.waiting:
            where = f"{waiting.branch_id}: " if waiting.branch_id else ""
            question = waiting.reason or (waiting.form.question if waiting.form else "")
            names = list((waiting.form.schema or {}).get("properties", {})) if waiting.form else []
            print(f"  it waits at {where}{question}" + (f" (answers: {', '.join(names)})" if names else ""))
        print(f"go on with: {resume} [--answer KEY=VALUE]")
    else:
        if run.error is not None:
            print(f"dagflow: {run.error}", file=sys.stderr)
        print(f"mend what failed, then: {resume}")
    return status


def _print_result(result: Any) -> None:
    if isinstance(result, Mapping):
        for key, value in result.items():
            print(f"  {key}: {shorten(value, 200)}")
    elif result is not None:
        print(f"  {result}")


def _draw(picture: Any, output: str | None) -> None:
    if output:
        picture.save(output)
        print(f"the graph: {output}")


def _wait_for(command: list[str]) -> int:
    """Run a program to its end. Ctrl-C is its business: JupyterLab asks whether to stop."""
    with subprocess.Popen(command) as program:
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                return program.wait()


def _has_module(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def _example_notebooks() -> Path:
    """The notebooks that came with the package, or those of the folder it is developed in."""
    package = Path(__file__).parent.parent
    packaged = package / "examples"
    return packaged if packaged.is_dir() else package.parent / "notebooks"

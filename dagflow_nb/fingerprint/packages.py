"""Whose code a module is: one's own, which is followed, or that of an installed distribution.

Rules kept here: what is installed counts by its name and version; the standard library by the version
of Python; a compiled module of one's own by its file's size and time, as its code cannot be read.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any, NamedTuple


class Package(NamedTuple):
    """An installed distribution."""

    name: str
    version: str


PYTHON = Package("python", f"{sys.version_info[0]}.{sys.version_info[1]}")
_STANDARD = sys.stdlib_module_names | set(sys.builtin_module_names)


@cache
def _folders() -> tuple[tuple[str, ...], tuple[str, ...]]:
    paths = sysconfig.get_paths()
    found = {paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()}
    standard = {paths["stdlib"], paths["platstdlib"]}
    return tuple(os.path.join(f, "") for f in found), tuple(os.path.join(f, "") for f in standard)


def package_of_file(filename: str) -> Package | None:
    """The distribution that a source file belongs to; None for one's own."""
    installed, standard = _folders()
    if filename.startswith(installed) or f"{os.sep}dist-packages{os.sep}" in filename:
        folder = next((f for f in installed if filename.startswith(f)), "")
        rest = filename[len(folder) :] if folder else filename.rpartition("dist-packages" + os.sep)[2]
        return package_of(rest.split(os.sep)[0].removesuffix(".py"))
    if filename.startswith(standard) or filename.startswith("<frozen "):
        return PYTHON
    return package_of("dagflow_nb") if filename.startswith(_HERE) else None


_HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


@cache
def package_of(module: str) -> Package | None:
    """The distribution that a module belongs to, by its name; None for one's own."""
    top = module.partition(".")[0]
    if top in _STANDARD and top != "__main__":
        return PYTHON
    if top == "dagflow_nb":
        return Package(top, _version(top))
    found: Any = sys.modules.get(module) or sys.modules.get(top)
    file = getattr(found, "__file__", None)
    if not isinstance(file, str):
        return None
    installed, _ = _folders()
    if file.startswith(installed) or f"{os.sep}dist-packages{os.sep}" in file:
        return Package(_distribution(top), _version(top))
    if file.endswith((".so", ".pyd")):
        facts = os.stat(file)
        return Package(module, f"{facts.st_size} bytes of {facts.st_mtime_ns}")
    return None


@cache
def _distribution(top: str) -> str:
    try:
        return metadata.distribution(top).name
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(top)
        return names[0] if names else top


def _version(top: str) -> str:
    try:
        return metadata.version(_distribution(top))
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(top), "__version__", "unknown"))


def of_module(module: ModuleType) -> Package | None:
    """The distribution of a module; None for one's own."""
    return package_of(module.__name__)

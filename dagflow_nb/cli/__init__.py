"""The command `dagflow`."""

from .commands import main as main

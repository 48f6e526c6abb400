"""Writing files that users name."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import ValidationError


def write_file(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write a file (text as UTF-8); returns its path. `ValidationError` says why it cannot be written."""
    file = Path(path).expanduser()
    try:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        why = error.strerror or str(error)
        if not file.parent.is_dir():
            why = f"there is no folder {str(file.parent)!r}: make it first"
        raise ValidationError(f"{str(file)!r} cannot be written: {why}", culprit=str(file)) from error
    return file

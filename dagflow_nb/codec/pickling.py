"""Pickles: the last resort, and only where they are allowed.

Rules kept here: nothing is unpickled unless the codec was made with `allow_pickle=True`; a secret is not
pickled either, however deep it lies.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from ..errors import SerializationError
from .base import MAX_BYTES, Family, Unsupported, too_big
from .models import is_secret

if TYPE_CHECKING:
    from .packing import Reader


def pickled(value: Any) -> bytes:
    """`value` pickled, by value where it comes from a cell; raises `Unsupported` where it holds a secret."""
    import pickle

    import cloudpickle

    class Watchful(cloudpickle.Pickler):  # type: ignore[misc]  # it has no stubs
        """Sees each object on its way."""

        def persistent_id(self, found: Any) -> None:
            if is_secret(found):
                raise Unsupported("holds a secret: secrets are never written", secret=True)

    file = io.BytesIO()
    Watchful(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    if file.tell() > MAX_BYTES:
        raise too_big()
    return file.getvalue()


def unpickled(data: Any, allowed: bool) -> Any:
    """What was pickled; raises `SerializationError` unless pickles are allowed."""
    if not allowed:
        raise SerializationError(
            "this value is stored as a pickle, and reading one runs the code it holds: if you trust this "
            "database, open it with DagFlow(..., allow_pickle=True)",
            culprit="pickle",
        )
    import pickle

    return pickle.loads(data)


class PickleFamily(Family):
    """A part of a message; written by `Codec`, where that is allowed."""

    tag = "pickle"

    def unpack(self, payload: Any, reader: Reader) -> Any:
        return unpickled(base64.b64decode(payload), reader.allow_pickle)


FAMILIES: tuple[Family, ...] = (PickleFamily(),)

"""What has happened, as pandas DataFrames."""

from .history import History

__all__ = ["History"]

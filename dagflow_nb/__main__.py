"""`python -m dagflow_nb` is the command `dagflow`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())

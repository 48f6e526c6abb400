"""A helper program, run in a process of its own: DOT text on stdin, what pygraphviz makes of it on stdout.

The library holds the GIL while it works, may be used by one thread only, and writes to stderr as it likes:
all of that ends with this process. Usage: `python _agraph.py FORMAT ENGINE`.
"""

import sys

import pygraphviz  # type: ignore[import-untyped]  # the package has no type hints

if __name__ == "__main__":
    graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
    sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog=sys.argv[2]))

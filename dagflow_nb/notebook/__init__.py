"""Everything one sees: pictures, the live view, the terminal's bar, the magics.

Views read `Snapshot`s and call a few control functions; they know nothing of the scheduler. Nothing
here is imported before it is needed: pictures need `graphviz`, the live view `anywidget`.
"""

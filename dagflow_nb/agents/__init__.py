"""Graphs that language models make: tools that they are told of, plans that they write, planners."""

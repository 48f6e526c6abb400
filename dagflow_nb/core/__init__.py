"""The pure core: what a run is and how it moves. Imports nothing but itself, `errors` and the standard
library's data types; knows no clock, no loop, no file, no randomness."""

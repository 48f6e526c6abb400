"""Where the pure core meets loops, threads and files."""

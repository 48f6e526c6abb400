"""A run recorded as a file, and played again without its actions."""

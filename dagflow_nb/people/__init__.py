"""A person in the loop: what is asked, and whether an answer fits."""

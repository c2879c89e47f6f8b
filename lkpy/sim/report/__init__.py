"""Reports of a run: the JSON document and what is made from it."""

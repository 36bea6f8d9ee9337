"""A table of methods, all judged on the same split: every method and seed is a cell that can be resumed."""

"""Random changes of a directory, step by step; `simulator.mutate` is the entry."""

"""Drift: which direct grants changed, and whether the ledger, Entra itself or somebody did it.

Here: reading changes off the histories of the tables (`sources`), what made them (`evidence`,
`causes`), keeping that (`keeping`), and what people are told of it (`findings`). Not here: carrying
out a repair, which is a request like any other.
"""

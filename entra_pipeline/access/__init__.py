"""The entitlement graph: who can reach what, and by which chain of grants.

Here belong the build of warehouse.duckdb from the directory tables, its macros, its publication,
and the questions asked of it. Reading a tenant is extract's, storing tables lake's. Importing
this package loads nothing heavy: a question starts with duckdb and the standard library alone.
"""

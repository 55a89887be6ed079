"""What Dagster materialises, and the checks on it, made from the registry of tables.

Thin on purpose: no HTTP, no SQL, no rows. Assets say what exists and when it is made; how it is
read, stored and derived belongs to the domain packages of `entra_pipeline`.
"""

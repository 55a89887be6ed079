"""Migrations of the ledger's schema, run by `database` when a ledger is opened."""

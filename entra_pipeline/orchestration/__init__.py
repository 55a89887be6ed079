"""Dagster's side of the product: how syncs are described, run, watched and repaired.

Here belong resources, jobs, schedules, alerts, the instance's home and the ways to start a run.
What is materialised is declared in `assets`, which this package never imports; how anything is
read, stored or derived belongs to the domain packages, which never import Dagster.
"""

"""Dagster's side of the product: how syncs are described, run, watched and repaired.

Here belong resources, jobs, schedules, alerts, the instance's home and the ways to start a run.
What is materialised is declared in `assets`, which this package never imports; how anything is
read, stored or derived belongs to the domain packages, which never import Dagster.
"""

import gc as _gc

# Dagster's modules are some hundred thousand objects that stay: looking through them for garbage
# at every seven hundred new ones takes half a second of each start, and more of each run.
_gc.set_threshold(50_000, 20, 100)

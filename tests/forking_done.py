"""Loaded last by the process that others are forked from: what it has loaded is no garbage."""

from __future__ import annotations

import gc

gc.collect()
gc.freeze()

"""Oddities met while reading, counted per table.

Here: the counter that readers share. Not here: what is done about an oddity (the module that
meets it decides) and how the counts are shown (table status, asset metadata).
"""

import threading
from collections import Counter

MISMATCHED = "values_of_unexpected_type"
SENTINEL_DATES = "sentinel_dates"
UNREADABLE_DATES = "unreadable_dates"
UNKNOWN_TYPES = "unknown_types"
UNKNOWN_VALUES = "unknown_values"
WITHOUT_KEY = "rows_without_key"
DUPLICATES = "duplicates"
VANISHED = "vanished"
REFUSED = "refused"
RESTARTED = "restarted"
REREAD = "read_again"
DROPPED_BY_SETTING = "left_out_by_setting"
UNKNOWN_OWNERS = "owners_not_listed"
NO_DELTA = "changes_cannot_be_followed"
DOUBTED = "changes_not_usable"


class Notes:
    """Counts of oddities; safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, oddity: str, count: int = 1) -> None:
        """Count an oddity; zero counts leave no trace."""
        if count:
            with self._lock:
                self._counts[oddity] += count

    def count(self, oddity: str) -> int:
        """How often the oddity was met; 0 if never."""
        with self._lock:
            return self._counts[oddity]

    def counts(self) -> dict[str, int]:
        """A copy of all counts."""
        with self._lock:
            return {name: count for name, count in sorted(self._counts.items()) if count}

    def merge(self, other: "Notes") -> None:
        """Add another counter's counts to these."""
        for name, count in other.counts().items():
            self.add(name, count)

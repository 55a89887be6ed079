"""Public keys that passwords are sealed to: age X25519 keys, checked without being repeated.

Not here: sealing (`provisioning.sealing`).
"""

from __future__ import annotations

from collections.abc import Iterable


def check(recipients: Iterable[str]) -> tuple[str, ...]:
    """The public keys, sorted, each once. ValueError for what is none, by its place."""
    import pyrage  # only where keys are given

    given = [part for each in recipients if (part := each.strip())]
    for place, each in enumerate(given, 1):
        # What is no public key is not repeated: it may be somebody's secret key.
        if each.upper().startswith("AGE-SECRET-KEY"):
            raise ValueError(
                f"recipient {place} is a secret key: name the public one (age1…), and make a new "
                "pair, for this one is no secret any more"
            )
        try:
            pyrage.x25519.Recipient.from_str(each)
        except pyrage.RecipientError:
            raise ValueError(
                f"recipient {place} is not an age X25519 public key (age1…, as `age-keygen` "
                "prints it)"
            ) from None
    return tuple(sorted(set(given)))

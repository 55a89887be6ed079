"""Who somebody is, by what this program can find out for itself: never by what they type."""

from __future__ import annotations

import os
import pwd
import socket
from typing import Final

from entra_pipeline.provisioning.values import Identity, IdentityKind

LAUNCHPAD: Final = Identity(kind=IdentityKind.SYSTEM, subject="dagster", machine=None)
"""Dagster's open-source pages have no users: whoever launched something there is not known."""


def os_user() -> Identity:
    """The operating system's user that this process runs as, on this machine."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's number without a name
        name = str(uid)
    return Identity(kind=IdentityKind.OS_USER, subject=name, machine=socket.gethostname())


def signed_in(object_id: str) -> Identity:
    """The person whose verified id token has that object id."""
    return Identity(kind=IdentityKind.ENTRA, subject=object_id.lower(), machine=None)

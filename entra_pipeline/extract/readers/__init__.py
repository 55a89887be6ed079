"""What fills which tables: every reader, and nothing else.

Here: the list. Not here: the readers themselves, one module per subject beside this one.
"""

from entra_pipeline.extract.job import Reader
from entra_pipeline.extract.readers import (
    applications,
    groups,
    lists,
    owners,
    pim,
    service_principals,
    users,
)

READERS: tuple[Reader, ...] = (
    *users.READERS,
    *groups.READERS,
    *owners.READERS,
    *service_principals.READERS,
    *applications.READERS,
    *pim.READERS,
    *lists.READERS,
)

"""Exchange Online's administration: the commands by which distribution lists are read and changed.

Here: the client (`client`), what its answers and refusals mean (`answers`), where its token may go
(`places`), sending writes (`writing`). Not here: what a membership is (`provisioning`), and
Microsoft Graph (`msgraph`), whose tokens and way of sending are used.
"""

from entra_pipeline.exchange.client import ExchangeClient
from entra_pipeline.exchange.writing import CommandWriter

__all__ = ["CommandWriter", "ExchangeClient"]

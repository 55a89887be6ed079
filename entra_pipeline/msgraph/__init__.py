"""The Microsoft Graph client: tokens, requests, pages, batches, pacing, errors.

Belongs here: everything between a path with parameters and the bytes of a whole, checked answer.
Does not belong here: what tables exist and what their rows look like.
"""

from entra_pipeline.msgraph.auth import Claims, TokenSource
from entra_pipeline.msgraph.batch import BatchItem, BatchResult
from entra_pipeline.msgraph.budget import Service
from entra_pipeline.msgraph.client import GraphClient
from entra_pipeline.msgraph.clock import SYSTEM, Clock
from entra_pipeline.msgraph.errors import GraphError
from entra_pipeline.msgraph.meter import Meter, TableCounts
from entra_pipeline.msgraph.paging import Page, decode_page
from entra_pipeline.msgraph.sender import RetryPolicy
from entra_pipeline.msgraph.writing import Write, Writer, Written

__all__ = [
    "SYSTEM",
    "BatchItem",
    "BatchResult",
    "Claims",
    "Clock",
    "GraphClient",
    "GraphError",
    "Meter",
    "Page",
    "RetryPolicy",
    "Service",
    "TableCounts",
    "TokenSource",
    "Write",
    "Writer",
    "Written",
    "decode_page",
]

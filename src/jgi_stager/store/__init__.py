"""The database: the only place that talks to MongoDB. Plain functions on a `Store`, a module per collection."""

from jgi_stager.store.connection import connect, ping, server_time, within
from jgi_stager.store.database import Document, Store
from jgi_stager.store.errors import LeaseLost, RecordTooLarge, StoreError, StoreRefused, StoreUnavailable

__all__ = [
    "Document",
    "LeaseLost",
    "RecordTooLarge",
    "Store",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "connect",
    "ping",
    "server_time",
    "within",
]

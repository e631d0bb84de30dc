"""Which of the driver's errors is an outage, which needs a person, and which is a bug."""

from __future__ import annotations

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WriteError,
    WTimeoutError,
)

from jgi_stager.store import RecordTooLarge, StoreError, StoreRefused, StoreUnavailable
from jgi_stager.store.errors import translated

UNCONFIRMED = {"writeErrors": [], "writeConcernErrors": [{"code": 64}]}
BROKEN = {"writeErrors": [{"code": 2}], "writeConcernErrors": []}


def raised_for(error: Exception) -> BaseException:
    @translated
    def function() -> None:
        raise error

    with pytest.raises((StoreError, type(error))) as caught:
        function()
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AutoReconnect("closed"), StoreUnavailable),
        (ServerSelectionTimeoutError("none"), StoreUnavailable),
        (NotPrimaryError("stepped down"), StoreUnavailable),
        (WTimeoutError("no majority", 64), StoreUnavailable),
        (BulkWriteError(UNCONFIRMED), StoreUnavailable),
        (OperationFailure("disk is full", 14031), StoreUnavailable),
        (OperationFailure("interrupted", 11601), StoreUnavailable),
        (OperationFailure("wrong password", 18), StoreRefused),
        (OperationFailure("no right", 13), StoreRefused),
        (ConfigurationError("odd"), StoreRefused),
        (WriteError("too large", 10334), RecordTooLarge),
        (BulkWriteError({"writeErrors": [{"code": 17419}], "writeConcernErrors": []}), RecordTooLarge),
    ],
)
def test_what_is_no_bug_has_a_kind(error: Exception, kind: type[StoreError]) -> None:
    found = raised_for(error)
    assert type(found) is kind
    assert found.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [OperationFailure("bad operator", 2), BulkWriteError(BROKEN), DuplicateKeyError("twice", 11000)],
)
def test_a_bug_passes_through(error: Exception) -> None:
    assert raised_for(error) is error

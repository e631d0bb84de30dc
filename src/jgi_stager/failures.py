"""The kinds of failure, decided once, at the edge where the outside answered; and when to try again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Service(StrEnum):
    """The outside services, as they are named to people."""

    GOLD = "gold"
    JDP = "jdp"
    DOWNLOADS = "downloads"
    """The host from which JDP gives out single files; its credential is that of JDP."""
    NMDC = "nmdc"
    GLOBUS = "globus"
    SMTP = "smtp"
    NERSC = "nersc"
    """What NERSC says of itself. Nothing waits for it."""


NEEDED = (Service.GOLD, Service.JDP, Service.NMDC, Service.GLOBUS, Service.SMTP)
"""The services whose outage people hear of."""


class Page(StrEnum):
    """A web page, made for people, in the place of an answer."""

    SIGN_IN = "sign in"
    """It asks to log in: whoever asked is not known any more."""
    MAINTENANCE = "maintenance"
    OTHER = "other"


class LimitKind(StrEnum):
    """What a limit counts."""

    IDS = "ids"
    """File ids in one request."""
    BYTES = "bytes"
    """Bytes that are asked for in a window."""


class ServiceError(Exception):
    """Something outside went wrong. ``service`` says where, the message says what, for a person."""

    status: int | None = None
    """The HTTP status, where there was an answer."""
    page: Page | None = None
    """Which web page came in the place of an answer, where one did that may tell something."""

    def __init__(self, service: Service, message: str) -> None:
        super().__init__(message)
        self.service = service


class Transient(ServiceError):  # noqa: N818 - the design names it so: it is a kind, not an error class among many
    """Try again later: network, 5xx, 429, HTML instead of JSON. Nothing is wrong with the item.

    ``retry_after`` is the wait in seconds that the service asked for, if it did. ``answered``: the service works,
    but what it says of this item cannot be used; that is no outage, however often it happens.
    """

    def __init__(
        self, service: Service, message: str, retry_after: float | None = None, *, answered: bool = False
    ) -> None:
        super().__init__(service, message)
        self.retry_after = retry_after
        self.answered = answered


class NotOnDisk(Transient):
    """A file cannot be had from JDP now: tape works on it, or it is on tape again."""


class OtherPart(Transient):
    """What came is no continuation of what is here of a file: it is begun again."""


class Rejected(ServiceError):  # noqa: N818
    """This item is wrong and stays wrong: fail it with the reason. Nothing happened outside."""


class OverLimit(Rejected):
    """Refused for how much was asked, not for what. ``allowed``: the number that the service names."""

    def __init__(self, service: Service, message: str, about: LimitKind, allowed: int | None) -> None:
        super().__init__(service, message)
        self.about = about
        self.allowed = allowed


class CallKind(StrEnum):
    """What is asked of a Globus collection. A login may be good for one and not for the other."""

    LIST = "ls"
    SUBMIT = "submit"


@dataclass(frozen=True)
class Lack:
    """What a login may not do on some collections, though it is good otherwise."""

    scope: str
    """``data_access`` for a consent that is missing, ``access`` for a right of the account."""
    collections: tuple[str, ...] = ()
    """Their ids; none while it is not known which of a call's."""
    call: CallKind | None = None
    """The kind of call that was refused: only one of that kind can show that it is over."""

    def on(self, call: CallKind, collections: Sequence[str]) -> Lack:
        """The same, of a call on these collections."""
        named = tuple(one for one in self.collections if one in collections)
        return replace(self, call=call, collections=named or self.collections or tuple(collections))


class NeedsPerson(ServiceError):  # noqa: N818
    """A credential or consent is missing or ended: pause the service, say what to do (``cure``).

    ``lack``: it is not the whole login. Then only calls of that kind wait.
    """

    def __init__(self, service: Service, message: str, cure: str, lack: Lack | None = None) -> None:
        super().__init__(service, message)
        self.cure = cure
        self.lack = lack

    @property
    def of_one_kind(self) -> Lack | None:
        """What is missing where one kind of call on known collections is refused. None if it is the whole login,
        or nobody knows of what kind the call was.
        """
        return self.lack if self.lack is not None and self.lack.call and self.lack.collections else None


class OutcomeUnknown(ServiceError):  # noqa: N818
    """A POST that cannot prove that it did not arrive. Never repeat it blindly: look for evidence."""


class Unnumbered(OutcomeUnknown):
    """A POST that was answered, but without the number by which it could be followed: it counts as received.

    ``answer`` is what the service said, bounded, without secrets. ``repeated``: it has the number of another one.
    """

    def __init__(self, service: Service, message: str, answer: str, *, repeated: bool = False) -> None:
        super().__init__(service, message)
        self.answer = answer
        self.repeated = repeated

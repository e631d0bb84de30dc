"""Addresses: every one that is accepted stands in a mail as it is, and one that does not costs nobody the mail."""

from __future__ import annotations

import string
from email import message_from_bytes
from email.policy import default

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from jgi_stager.mail import Envelope, RenderedMail, make_mail
from jgi_stager.records import is_mail_address
from mail_samples import AT

RENDERED = RenderedMail("s", "t", "<p>t</p>")
_PLAIN = string.ascii_letters + string.digits
_ATOMS = st.text("ab=?_" + _PLAIN + "!#$%&'*+/^`{|}~-", min_size=1, max_size=20)
_LABELS = st.text("-" + _PLAIN, min_size=1, max_size=20)
_LIKELY = st.tuples(*(st.lists(part, min_size=1, max_size=4).map(".".join) for part in (_ATOMS, _LABELS)))
_ADDRESSES = _LIKELY.map("@".join) | st.text("ab.=?-@ ", max_size=9) | st.text(max_size=9).map("a@{}".format)


def read_back(*to: str) -> list[str]:
    """The addresses in the header of a mail for them, as a mail program reads them."""
    mail = make_mail(RENDERED, Envelope("s@example.org", to, "<1@example.org>", AT))
    return [one.addr_spec for one in message_from_bytes(mail.as_bytes(), policy=default)["To"].addresses]


@given(_ADDRESSES)
@example("a=?utf-8?q?b?=@lbl.gov")
@example(f"{'a' * 64}@{'b' * 253}")
@example("-@-")
def test_an_address_that_is_accepted_comes_out_of_a_mail_as_it_went_in(address: str) -> None:
    assume(is_mail_address(address))
    assert read_back("first@example.org", address) == ["first@example.org", address]


@pytest.mark.parametrize(
    "bad", [".joe@lbl.gov", "joe@.lbl.gov", "", "a@b@c", "x, y@lbl.gov", "a@b\r\nB: c@d", "@"]
)
def test_an_address_of_old_that_cannot_stand_in_a_header_costs_the_others_nothing(bad: str) -> None:
    assert read_back("site@example.org", bad) == ["site@example.org"]
    assert read_back(bad) == []

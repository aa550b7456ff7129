"""What replaces slow functions of the library says what the library says."""

import time
from typing import Any

import sippy.SipURL
import sippy.SipVia
import sippy.Time.clock_dtime
from hypothesis import given
from hypothesis import strategies as st

from simrack.sip import quick

SipURL: Any = sippy.SipURL.SipURL  # deeper than the stubs go
# The library's own: the engine may have been opened, and others put in their place, by a test before.
ORIGINAL = {name: SipURL.__dict__[name] for name in ("localStr", "getCopy")}
SipVia: Any = sippy.SipVia.SipVia
VIA_STR = SipVia.__dict__["localStr"]
clocks: Any = sippy.Time.clock_dtime
FIELDS = sorted(vars(SipURL(host="h")))
LOCAL = (("192.0.2.1", 5070), "udp")
WORDS = st.text("abc019+ %@-", min_size=1, max_size=6)
TEXTS = st.sampled_from(
    ["sip:a@h", "sip:h", "sips:a%20b;p=1:pw@h:5061;transport=tcp;lr?x=y", "sip:+49@192.0.2.1:5060;user=phone;ttl=3;maddr=m;tag=t;method=BYE;q=1"]
)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "username": WORDS, "userparams": st.lists(WORDS, max_size=2), "password": st.just("pw"), "host": st.sampled_from([None, "h", "192.0.2.9"]),
        "port": st.sampled_from([None, 5060, 5061, 40000]), "headers": st.just({"a": "b c"}), "usertype": st.just("phone"),
        "transport": st.sampled_from([None, "udp", "tcp"]), "ttl": st.just(3), "maddr": st.just("m"), "method": st.just("BYE"), "tag": st.just("t"),
        "other": st.lists(WORDS, max_size=2), "lr": st.booleans(), "scheme": st.sampled_from(["sip", "sips"]),
    },
)  # fmt: skip
URLS = st.one_of(TEXTS.map(SipURL), PARTS.map(lambda parts: SipURL(**parts)))


def _library(name: str, url: Any, *args: Any) -> Any:
    found = ORIGINAL[name]
    assert found.__module__ == "sippy.SipURL", "taken before anything was put in its place"
    return found(url, *args)


@given(URLS, st.sampled_from([None, LOCAL, (("192.0.2.1", 5060), "tcp")]))
def test_a_url_is_written_as_the_library_writes_it(url: Any, local: Any) -> None:
    """A Contact or request URI that reads otherwise would send a BYE nowhere."""
    assert quick.local_str(url, local) == _library("localStr", url, local)


@given(URLS)
def test_a_copy_is_the_librarys_and_stands_alone(url: Any) -> None:
    """A change to one dialog's URL must not show in another's."""
    mine, theirs = quick.copy(url), _library("getCopy", url)
    # The library's copy of a URL without host would take our own address for one that was told.
    if url.host is not None:
        assert [getattr(mine, name) for name in FIELDS] == [getattr(theirs, name) for name in FIELDS]
    mine.other.append("x")
    mine.userparams.append("y")
    assert "x" not in url.other
    assert "y" not in url.userparams


VIAS = st.sampled_from([
    "SIP/2.0/UDP h", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport", "SIP/2.0/TCP [2001:db8::1]:5070;received=h;lr",
    "SIP/2.0/ws h;branch=b", None,
])  # fmt: skip


@given(VIAS, st.booleans(), st.sampled_from([None, LOCAL, (("192.0.2.1", 5060), "udp"), (("h", 5060), "ws"), (("h", 5060), "tcp")]))
def test_a_via_is_written_as_the_library_writes_it(body: Any, parsed: bool, local: Any) -> None:
    """A Via that reads otherwise sends the answers elsewhere."""
    assert VIA_STR.__module__ == "sippy.SipVia", "taken before anything was put in its place"
    via = SipVia(body)
    if parsed and body is not None:
        via.parse()
    if via.parsed:
        via.params["branch"] = "z9hG4bKx"
    assert quick.via_str(via, local) == VIA_STR(via, local)


def test_the_librarys_clocks_are_the_kernels() -> None:
    """A timer by another clock would fire at another time."""
    quick.install()
    for clock in (clocks.CLOCK_REALTIME, clocks.CLOCK_MONOTONIC):
        before, now, after = clocks.clock_getdtime(clock), time.clock_gettime(clock), clocks.clock_getdtime(clock)
        assert before - 1e-6 <= now <= after + 1e-6

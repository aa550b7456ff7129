"""What S1 sends and the configuration that it is routed by."""

import random

CALLER = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="caller">
<nop start_rtd="refusal"></nop>
<send retrans="500" start_rtd="pdd"><![CDATA[
INVITE sip:[field0]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]-i
From: <sip:+882109000999@[local_ip]:[local_port]>;tag=[pid]T[call_number]
To: <sip:[field0]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=user1 53655765 2353687637 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0 8 101
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000

]]></send>
<recv response="100" optional="true"></recv>
<recv response="503" optional="true" next="refused" rtd="refusal"></recv>
<recv response="180" optional="true" rtd="pdd"></recv>
<recv response="200" rrs="true"></recv>
<send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:+882109000999@[local_ip]:[local_port]>;tag=[pid]T[call_number]
To: <sip:[field0]@[remote_ip]:[remote_port]>[peer_tag_param]
[routes]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<pause/>
<send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:+882109000999@[local_ip]:[local_port]>;tag=[pid]T[call_number]
To: <sip:[field0]@[remote_ip]:[remote_port]>[peer_tag_param]
[routes]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200" next="done"></recv>
<label id="refused"/>
<send counter="1"><![CDATA[
ACK sip:[field0]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]-i
From: <sip:+882109000999@[local_ip]:[local_port]>;tag=[pid]T[call_number]
To: <sip:[field0]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<label id="done"/>
</scenario>
"""

_HEAD = """
[installation]
class = "test-lab"
owner = "Benchmark"
country = "DE"

[[site]]
name = "lab"
title = "Laboratory"
country = "DE"
time_zone = "Europe/Berlin"
emergency = "refuse"

[[agreement]]
name = "lab-network"
operator = "Lab network 001 01"
reference = "none: emulated network"
lab = true
uses = ["test"]
sites = ["lab"]
valid_from = 2020-01-01
valid_until = 2099-12-31

[[plan]]
name = "lab"
title = "Lab SIMs"
agreement = "lab-network"
country = "001"
imsi_prefixes = ["00101"]

[[sender]]
name = "trunk"
legal_name = "Benchmark"
contact = "noc@example.org"
country = "DE"
purpose = "benchmark"
use = "test"
addresses = ["{sender}"]
numbers = ["+88210*"]
"""
_PATTERN = '\n[[pattern]]\nname = "p{0}"\nprefixes = ["+88210{0:05}"]\ntargets = [{{ plan = "lab", priority = 100 }}]\n'


def routing(sender: str, patterns: int, mix: int) -> str:
    """A routing file with so many patterns, in no order."""
    return _HEAD.format(sender=sender) + "".join(_PATTERN.format(n * mix % patterns) for n in range(patterns))


def numbers(patterns: int, seed: int) -> str:
    """SIPp's file of called numbers, spread over all patterns."""
    draw = random.Random(seed)
    rows = [f"+88210{draw.randrange(patterns):05}{draw.randrange(1000):03}" for _ in range(patterns)]
    return "SEQUENTIAL\n" + "\n".join(rows) + "\n"

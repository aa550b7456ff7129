"""Every kind of alarm with its severity, its title and what a person should do; `docs/alarms.md` lists them.

`{subject}` is what the alarm is about, for instance a box; an alarm's cause is `kind` or `kind:subject`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "major", "minor"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of alarm."""

    kind: str
    severity: Severity
    title: str
    advice: str


_KINDS = (
    Kind(
        "store-down", "critical", "Database can't be written",
        "New calls are refused with 503. Look at the disk's free space and at the database's log.",
    ),
    Kind(
        "store-damaged", "critical", "The database was damaged and an empty one took its place",
        "Earlier records are in the file that is named, as far as it can be read. Restore a copy. Closes at the next start.",
    ),
    Kind(
        "broker-down", "critical", "No session with the MQTT broker",
        "Boxes can't be seen and commands don't reach them. Start the broker or mend its address.",
    ),
    Kind(
        "twin-box", "critical", "Two machines call themselves {subject}",
        "The box gets no calls until one of the two is stopped. Look for a copied configuration.",
    ),
    Kind(
        "no-channel-ready", "critical", "No channel is in service",
        "Every call is refused. Look at the Rack page: are boxes connected, SIMs registered?",
    ),
    Kind(
        "box-unreachable", "major", "Box {subject} is unreachable",
        "Its calls go elsewhere. Look at its power, its uplink, and `simrack box` on it.",
    ),
    Kind(
        "box-silent", "major", "Box {subject} has said nothing for 5 minutes",
        "It is connected but does not report. Restart `simrack box` on it.",
    ),
    Kind(
        "config-rejected", "major", "Configuration was rejected",
        "The version before stays in force. Mend what the text names and reload.",
    ),
    Kind(
        "backup-failed", "major", "The last backup failed",
        "Nothing that happens now would survive this disk. Look at the folder of the Settings page (`backup.folder`) and at its free space; "
        "then try `simrack backup` by hand.",
    ),
    Kind(
        "emergency-refused", "major", "A call to an emergency number was refused",
        "Check the site's emergency choice; call the sender back if it was no test.",
    ),
    Kind(
        "sender-failures", "major", "Failed authentications from {subject}",
        "A sender or box has this address, so that it is not banned. Check its password, or who else is there.",
    ),
    Kind(
        "sender-flood", "major", "{subject} sends more than its calls need",
        "A sender has this address, so that it is not banned; what is over its budget is dropped unread. Ask the sender.",
    ),
    Kind(
        "machine-slow", "major", "This machine can't keep up with its calls",
        "Fewer calls are admitted until it can. Look at what else runs here (`top`), and at the disk.",
    ),
    Kind(
        "no-media", "major", "Calls without any voice: {subject}",
        "They were released by the rack. Look at one call's story: which side was silent? Then at that module's audio port, at the "
        "box's RTP ports in the firewall, and at the address in the sender's SDP.",
    ),
    Kind(
        "one-way", "minor", "Voice one way only, several calls in a row: {subject}",
        "Look at one call's story: `no-rtp` or `silent-rtp` is the sender's side (firewall, NAT, its SDP), `no-pcm` or `silent-pcm` the "
        "module's (audio port, antenna, network).",
    ),
    Kind(
        "box-disk", "major", "Box {subject} can't write its file",
        "It refuses new calls; those in progress go on. Free its disk, or mend what the text names.",
    ),
    Kind(
        "module-out", "major", "Channel {subject} is out of service: nothing brings its module back",
        "Look at the module, its USB cable and its power. It is tried every 5 minutes, and at once when it is plugged again.",
    ),
    Kind(
        "module-rung", "minor", "Channel {subject} did not bring its module back",
        "The box goes on with the next, stronger step by itself. If it happens often: power supply, cable, firmware.",
    ),
    Kind(
        "overload", "minor", "Calls come faster than this process admits",
        "The rest get 503 with Retry-After. Spread the calls, or raise `calls_per_second` after measuring.",
    ),
    Kind(
        "plain-link", "minor", "Box {subject} is linked without a tunnel",
        "Its signalling and voice are readable on the way. Provision a WireGuard link.",
    ),
    Kind(
        "notice-failed", "major", "Notices to {subject} don't arrive",
        "People are not told of alarms that way. Look at the receiver, then send a test under Alarms, Notices.",
    ),
    Kind(
        "disk-low", "major", "The centre's disk is nearly full",
        "When it is full, new calls are refused. Free space, shorten what is kept, or give it a larger disk.",
    ),
    Kind(
        "box-disk-low", "minor", "The disk of box {subject} is nearly full",
        "When it is full, the box refuses new calls. Free space on it.",
    ),
    Kind(
        "box-hot", "minor", "Box {subject} is hot",
        "Look at its fans, its filters and the room. Modules that are too hot drop calls, then fail.",
    ),
    Kind(
        "box-clock", "minor", "The clock of box {subject} is off",
        "Records stay right, because boxes tell their offset; logs on the box do not. Look at its time synchronisation.",
    ),
    Kind(
        "box-queue", "minor", "Facts of box {subject} wait for the controller",
        "Records of its calls stay estimated until they come. Look at its link and at the controller's database.",
    ),
    Kind(
        "box-short", "minor", "Box {subject} has too few channels in service",
        "Look at its channels on the Rack page: which have no SIM, no network or a fault?",
    ),
    Kind(
        "no-calls", "major", "No call has come in for a long while",
        "Is a sender down, or its way to here? Look at Logs for refused INVITEs, and call the sender.",
    ),
    Kind(
        "asr-low", "minor", "Too few calls are answered",
        "Look at Release causes and Statistics of the last hour: which plan, box or prefix fails, and with which cause?",
    ),
)  # fmt: skip
CATALOGUE: Mapping[str, Kind] = {kind.kind: kind for kind in _KINDS}

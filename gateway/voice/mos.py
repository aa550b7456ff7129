"""MOS estimate by the E-model: ITU-T G.107 (06/2015) with every parameter at its default but delay, codec and loss.

R = 93.2 - Id - Ie,eff. The constant is Ro - Is of the default connection (table 2 of 7.7: SLR 8, RLR 2, STMR 15, no
room noise to speak of); advantage factor A = 0. What is kept:

* clause 7.4: talker echo (Idte, TELR 65 dB, which a handset with its echo control has) and delay itself (Idd, sT = 1,
  mT = 100 ms). Listener echo (WEPL 110 dB) is below one point and left out.
* clause 7.5: Ie,eff = Ie + (95 - Ie) * Ppl / (Ppl / BurstR + Bpl), BurstR = mean length of a loss burst over the mean
  length for random loss, 1 / (1 - Ppl).
* annex B.4: R to MOS.

`ie` and `bpl` of each codec: ITU-T G.113 appendix I; see `sip.codecs.CodecRow`. Not in it: the radio side's own codec and
its losses, noise of the place, the network beyond the box. It compares calls, it is no verdict on one.
"""

import math

from simrack.sip.codecs import CodecRow

R_DEFAULT = 93.2  # 7.7: all defaults
MAX_IMPAIRMENT = 95.0  # 7.5
#: 7.5 is confirmed for burst ratios up to 8 at less than 2 % of loss only; a longer burst counts as 8.
MOST_BURST = 8.0
TELR_DB = 65.0  # 7.7
ROE = 94.77  # 7.4: -1.5 (No - RLR) with the defaults No = -61.18 dBm0p, RLR = 2 dB
ANNOYING_MS = 100.0  # mT of 7.4: no impairment by delay alone below it


def delay_impairment(one_way_ms: float) -> float:
    """Id of clause 7.4 for a one-way delay from mouth to ear."""
    return _talker_echo(one_way_ms) + _too_long(one_way_ms)


def _talker_echo(ms: float) -> float:
    terv = TELR_DB - 40 * math.log10((1 + ms / 10) / (1 + ms / 150)) + 6 * math.exp(-0.3 * ms * ms)
    re = 80 + 2.5 * (terv - 14)
    half = (ROE - re) / 2
    return max(0.0, (half + math.sqrt(half * half + 100) - 1) * (1 - math.exp(-ms)))


def _too_long(ms: float) -> float:
    if ms <= ANNOYING_MS:
        return 0.0
    x = math.log2(ms / ANNOYING_MS)
    return float(25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2))


def loss_impairment(row: CodecRow, loss_percent: float, mean_burst: float = 0.0) -> float:
    """Ie,eff of clause 7.5; `mean_burst` is the mean length of a gap in packets, 0 for random loss."""
    share = min(loss_percent, 100.0) / 100
    ratio = min(max(1.0, mean_burst * (1 - share)), MOST_BURST)
    loss = share * 100
    return row.ie + (MAX_IMPAIRMENT - row.ie) * loss / (loss / ratio + row.bpl)


def mos_of_r(r: float) -> float:
    """Annex B.4; 1.0 to 4.5."""
    r = max(0.0, min(100.0, r))
    # Below R = 6.5 the polynomial dips under 1.
    return max(1.0, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r))


def mos(row: CodecRow, delay_ms: float, loss_percent: float, mean_burst: float = 0.0) -> float:
    """Mean opinion score, rounded to 0.01.

    `delay_ms` is one way from mouth to ear, `loss_percent` the share of frames that were made up.
    """
    r = R_DEFAULT - delay_impairment(delay_ms) - loss_impairment(row, loss_percent, mean_burst)
    return round(mos_of_r(r), 2)

"""Voice of a box: one ticker, a bridge per call, an audio port per module."""

from simrack.gateway.voice.audio import AudioLost, AudioPort
from simrack.gateway.voice.bridge import Bridge
from simrack.gateway.voice.ticker import VoiceTicker

__all__ = ["AudioLost", "AudioPort", "Bridge", "VoiceTicker"]

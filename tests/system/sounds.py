"""An ear of the tests' own: numpy, nothing of simrack."""

import wave
from pathlib import Path

import numpy as np

RATE = 8000


def write_tone(path: Path, hz: float, seconds: float = 60.0, level: float = 0.25) -> Path:
    """A sine as 8 kHz WAV."""
    t = np.arange(int(seconds * RATE)) / RATE
    samples = (np.sin(2 * np.pi * hz * t) * level * 32767).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
    return path


def read_samples(path: Path) -> tuple[np.ndarray, int]:
    """Samples of a WAV file as floats in -1..1, and its rate; a header that was never finished is tolerated."""
    raw = path.read_bytes()
    rate = int.from_bytes(raw[24:28], "little")
    start = raw.find(b"data") + 8
    body = raw[start : start + (len(raw) - start) // 2 * 2]
    return np.frombuffer(body, "<i2").astype(float) / 32768, rate


def dominant_hz(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency between 200 and 3600 Hz, to about 1 Hz."""
    if len(samples) < rate // 2:
        return 0.0
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n=8 * rate))
    hz = np.fft.rfftfreq(8 * rate, 1 / rate)
    band = (hz > 200) & (hz < 3600)
    return float(hz[band][np.argmax(spectrum[band])])


def loudest_second(samples: np.ndarray, rate: int) -> np.ndarray:
    """The second with the most energy: what was heard while the call was up."""
    if len(samples) <= rate:
        return samples
    windows = range(0, len(samples) - rate, rate // 4)
    best = max(windows, key=lambda i: float(np.sum(samples[i : i + rate] ** 2)))
    return samples[best : best + rate]

"""White noise under a sound, for exams that clean speech would not tell apart. Needs numpy."""

from __future__ import annotations

import math
from typing import Any


def with_noise(sound: Any, snr_db: float) -> Any:
    """`sound`, float (n,) of any scale, plus white noise. `snr_db`: mean power of the sound over that of the noise, in decibels. The same
    noise every time."""
    import numpy as np

    power = float((sound**2).mean()) if len(sound) else 0.0
    return sound + np.random.default_rng(0).standard_normal(len(sound)) * math.sqrt(power / 10 ** (snr_db / 10))

"""Every bench there is, by the name of its agent. An agent without one is measured at loading alone."""

from __future__ import annotations

from .bench import Bench, Make, Task
from .bench_code import CODE
from .bench_maths import MATHS
from .bench_speech import SPEECH
from .bench_text import TEXT
from .bench_video import VIDEO
from .lab import Lab


async def _sleep(lab: Lab) -> Bench:
    """What a task costs that does nothing; and that sleepers do not keep each other awake."""
    del lab
    return Bench((Task(),), together=Task(args={"ms": 20}))


async def _spread(lab: Lab) -> Bench:
    del lab
    return Bench((Task(), Task(args={"n": 100})))


BENCHES: dict[str, Make] = {**VIDEO, **SPEECH, **TEXT, **MATHS, **CODE, "Sleep": _sleep, "Spread": _spread}

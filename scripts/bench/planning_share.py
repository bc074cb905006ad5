"""What planning takes of the paper's video job: measured, by the job's own clock.

    python scripts/bench/planning_share.py [--reps 5] [--json FILE]

One embedded system. Each repetition asks in words that the planner has not seen before (a cold plan), then once more in the same words
(the proposal comes from the cache). `planning_s` is from the job's submission to its plan: planner, optimizer and four messages. The first
job also loads the models and is told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from murakkab.client.job import Job, system

ROOT = Path(__file__).resolve().parents[2]
VIDEOS = [ROOT / "samples" / "reading.mp4", ROOT / "samples" / "switchboard.mp4"]
STEPS = ("Extract frames from each video", "Run speech-to-text on all scenes", "Detect objects in the frames")
WORDS = "List objects shown/mentioned in the videos"


async def measure(reps: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        async with system(data=folder) as url:
            for n in range(reps):
                for kind, description in (("new words", f"{WORDS}, run {n}"), ("same words", f"{WORDS}, run {n}")):
                    result = await Job(description=description, inputs=VIDEOS, tasks=STEPS).run(url)
                    rows.append({"kind": "first" if not rows else kind, "planning_s": result.planning_s, "time_s": result.time_s})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="what planning takes of the video job")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = asyncio.run(measure(args.reps))
    print(f"{'job':<12} {'n':>3} {'planning ms':>12} {'job s':>8} {'share':>8}   (medians, measured)")
    for kind in dict.fromkeys(r["kind"] for r in rows):
        some = [r for r in rows if r["kind"] == kind]
        share = median(r["planning_s"] / r["time_s"] for r in some)
        planning, whole = median(r["planning_s"] for r in some), median(r["time_s"] for r in some)
        print(f"{kind:<12} {len(some):>3} {planning * 1000:>12.1f} {whole:>8.2f} {share:>8.2%}")
    if args.json:
        args.json.write_text(json.dumps({"how": "measured", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

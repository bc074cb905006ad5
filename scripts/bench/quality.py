"""How good the media implementations are, measured on labelled media: word error rate, and objects' precision and recall.

    python scripts/bench/quality.py [--data DIR] [--json FILE] [--only NAME]

`DIR` (default $MURAKKAB_SHARED/data/media, else ../shared/data/media) holds either or both of
    speech/transcripts.jsonl   lines of {"file", "text"}, with the sound files beside it
    video/truth.json           file name to what is in it, with the videos beside it
Every implementation of SpeechToText and ObjectDetector that this interpreter can run is measured, with the first runnable
SceneSplitter, FrameExtractor and AudioExtractor before it, as in a real job.

Speech. Both texts are normalised: lower case; "mr" to "mister" and the like; numbers to words (1100 to 1999 as years); punctuation off,
also the hyphen, but not the apostrophe inside a word. Word error rate = least number of words put in, left out and replaced (Levenshtein) /
words of the reference; overall = the sum of the one / the sum of the other. `plain` is the same without the changes for numbers and titles.

Objects. The unit is one label in one second of one video: it is said of second s when a frame taken in [s, s + 1) shows it with a
score that the implementation lets through by itself. The truth is read as spans (label, start, end):
    "people": [{"start", "end"}]     "person", and is in sight all the time
    "<label>_count_at_s": {t: n}     label, all the time in [t, t + 1) where n > 0; between two such times it may be said, but need not
    "segments": [{start, end, "objects"}]  each label, *some* time of the segment
    "items_in_order", and "classes" without any of the above: the label, *some* time of the whole file
Tolerance is `tolerance_s` of the file, else 1 s.
    precision  of the (second, label) pairs that were said, the part in a span of that label widened by the tolerance at both ends.
               Every label counts, also those that the truth file has no word for; so a table that is there but not listed counts as wrong.
    recall     of the spans' units the part that was hit. "All the time" spans have one unit a second that lies in the span narrowed by the
               tolerance; it is hit when the label is said within the tolerance of that second. "Some time" spans are one unit each,
               hit when the label is said anywhere in the span widened by the tolerance.
    F1         harmonic mean of the two; overall = the mean of the files' F1, so that long files do not drown short ones; a file in which
               nothing is to be seen counts 1 when nothing was said, else 0.
    listed     precision over labels that the truth of any file here names, so without the strays.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from murakkab.agents import library
from murakkab.agents.interface import Call, Files
from murakkab.bus.messages import ArtifactRef

TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint", "okay": "ok"}
ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen""".split()  # noqa: SIM905
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
PEOPLE = {"people": "person", "persons": "person", "man": "person", "woman": "person", "child": "person", "visitor": "person"}


# --- speech ---------------------------------------------------------------------------------------------------------------


def spelled(n: int) -> list[str]:
    """English words of 0 … 999,999."""
    if n < 20:
        return [ONES[n]]
    if n < 100:
        return [TENS[n // 10 - 2], *([ONES[n % 10]] if n % 10 else [])]
    if n < 1000:
        return [ONES[n // 100], "hundred", *(spelled(n % 100) if n % 100 else [])]
    return [*spelled(n // 1000), "thousand", *(spelled(n % 1000) if n % 1000 else [])]


def words(text: str, plain: bool = False) -> list[str]:
    """The words of a text, normalised as the head of this file says."""
    out: list[str] = []
    text = text.lower().replace("’", "'")
    if not plain:
        text = re.sub(r"\b\d{1,3},\d{3}\b", lambda n: " ".join(spelled(int(n[0].replace(",", "")))), text)  # 1,250 is no year
    for word in re.findall(r"[a-z0-9]+(?:'[a-z0-9]+)*", text):
        if plain or not (word.isdigit() or word in TITLES):
            out.append(word)
        elif word in TITLES:
            out.append(TITLES[word])
        elif 1100 <= int(word) <= 1999 and len(word) == 4 and int(word) % 100:
            low = int(word) % 100
            out += [*spelled(int(word) // 100), *(["oh"] if low < 10 else []), *spelled(low)]
        else:
            out += spelled(int(word)) if len(word) <= 6 else [ONES[int(d)] for d in word]
    return out


def edits(wanted: Sequence[str], heard: Sequence[str]) -> int:
    """Levenshtein's distance over words."""
    row = list(range(len(heard) + 1))
    for i, want in enumerate(wanted, 1):
        above, row = row, [i]
        for j, hear in enumerate(heard, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (want != hear)))
    return row[-1]


# --- objects --------------------------------------------------------------------------------------------------------------


class Span(NamedTuple):
    label: str
    start_s: float
    end_s: float
    when: Literal["always", "sometime", "maybe"]
    """In sight all the time; some time of it; or nobody knows, which has no units, so that saying it is right and not saying it too."""


def one(label: str) -> str:
    """A label as it is compared: lower case, COCO's older spellings and words for people as one."""
    label = label.lower().strip()
    label = {"tvmonitor": "tv", "diningtable": "dining table", "pottedplant": "potted plant", "motorbike": "motorcycle"}.get(label, label)
    return PEOPLE.get(label, label)


def spans(truth: dict[str, Any], duration_s: float) -> list[Span]:
    """What one entry of truth.json says, as spans."""
    found: list[Span] = []
    for segment in truth.get("segments", ()):
        objects = segment.get("objects", {})
        counts = objects if isinstance(objects, dict) else dict.fromkeys(objects, 1)
        found += [Span(one(label), segment["start"], segment["end"], "sometime") for label, n in counts.items() if n]
    for person in truth.get("people", ()):
        if isinstance(person, dict) and "start" in person and "end" in person:
            found.append(Span("person", person["start"], person["end"], "always"))
    for key, counts in truth.items():
        if key.endswith("_count_at_s"):
            label = key.removesuffix("_count_at_s")
            label = one(label if label in truth.get("classes", (label,)) else label.removesuffix("s"))
            known = sorted((float(t), n) for t, n in counts.items())
            found += [Span(label, t, t + 1, "always") for t, n in known if n]
            found += [Span(label, t, later, "maybe") for (t, n), (later, more) in pairwise(known) if n and more]
    timed = {span.label for span in found}
    # "green apple": the last word names the thing.
    rest = [
        *truth.get("classes", ()),
        *(item if item in truth.get("classes", ()) else item.split()[-1] for item in truth.get("items_in_order", ())),
    ]
    for label in dict.fromkeys(map(one, rest)):
        if label not in timed and not truth.get("segments"):
            found.append(Span(label, 0.0, duration_s, "sometime"))
    return found


def score(said: Iterable[tuple[int, str]], truth: Sequence[Span], tolerance_s: float, listed: frozenset[str]) -> dict[str, float]:
    """Counts for one file: pairs said, right ones among them, the same of listed labels, units of the truth, units hit."""
    pairs = set(said)
    # A frame taken in second s was taken somewhere in [s, s + 1), so the second touches a span from a second before.
    right = {
        (s, label) for s, label in pairs if any(label == t.label and t.start_s - tolerance_s - 1 < s < t.end_s + tolerance_s for t in truth)
    }
    units = hits = 0
    near = math.ceil(tolerance_s)
    for t in truth:
        if t.when == "always":
            short = min(tolerance_s, max(0.0, (t.end_s - t.start_s - 1) / 2))
            for s in range(math.ceil(t.start_s + short), math.floor(t.end_s - short)):
                units += 1
                hits += any((s + d, t.label) in pairs for d in range(-near, near + 1) if abs(d) <= tolerance_s)
        elif t.when == "sometime":
            units += 1
            hits += any(label == t.label and t.start_s - tolerance_s - 1 < s < t.end_s + tolerance_s for s, label in pairs)
    known = [(s, label) for s, label in pairs if label in listed]
    return {"said": len(pairs), "right": len(right), "said_listed": len(known), "units": units, "hits": hits}


def rates(count: dict[str, float]) -> dict[str, float]:
    """Precision, recall and F1 from the counts of `score`."""
    precision = count["right"] / count["said"] if count["said"] else 1.0
    recall = count["hits"] / count["units"] if count["units"] else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    if not count["units"]:
        f1 = float(not count["said"])
    listed = count["right"] / count["said_listed"] if count["said_listed"] else 1.0
    return {"precision": precision, "recall": recall, "f1": f1, "listed": listed}


# --- running --------------------------------------------------------------------------------------------------------------


class Bench:
    """Models of the library, loaded when first asked for, and one folder of artifacts."""

    def __init__(self, folder: Path) -> None:
        self.files = Files(folder)
        self.models: dict[tuple[str, str], Any] = {}

    def rows(self, agent: str) -> list[library.Implementation]:
        return [row for row in library.implementations().values() if row.agent == agent and not library.missing(row, os.environ)]

    def put(self, path: Path) -> ArtifactRef:
        copy, digest = self.files.scratch(), hashlib.sha256()
        with path.open("rb") as source, copy.open("wb") as target:
            while block := source.read(1 << 20):
                digest.update(block)
                target.write(block)
        return self.files.keep(copy, "application/octet-stream")

    def run(self, row: library.Implementation, inputs: dict[str, Any], args: dict[str, Any] | None = None) -> Any:
        """One task of an implementation: what it gave, as builtins."""
        key = (row.agent, row.name)
        if key not in self.models:
            module, name = row.entry.split(":")
            self.models[key] = getattr(import_module(module), name)(**row.options)
            self.models[key].load()
        model, call = self.models[key], Call(inputs, args or {}, self.files)
        given = asyncio.run(model.run_async(call)) if hasattr(model, "run_async") else model.run(call)
        return msgspec.to_builtins(given)

    def scenes(self, path: Path) -> list[Any]:
        video = {"media": msgspec.to_builtins(self.put(path)), "name": path.name}
        scenes: list[Any] = self.run(self.rows("SceneSplitter")[0], {"video": video})
        return scenes


def speech(bench: Bench, row: library.Implementation, folder: Path) -> dict[str, Any]:
    """Word error rates of one implementation on every clip, and CPU seconds a task."""
    clips, cpu_s, tasks, sound_s = [], 0.0, 0, 0.0
    for line in (folder / "transcripts.jsonl").read_text().splitlines():
        clip = json.loads(line)
        heard = []
        for scene in bench.scenes(folder / clip["file"]):
            audio = bench.run(bench.rows("AudioExtractor")[0], {"scene": scene})
            if not tasks:
                bench.run(row, {"audio": audio})  # loads; the first task also warms up
            before = time.process_time()
            heard += [s["text"] for s in bench.run(row, {"audio": audio})["segments"]]
            cpu_s, tasks, sound_s = cpu_s + time.process_time() - before, tasks + 1, sound_s + scene["end_s"] - scene["start_s"]
        text = " ".join(heard)
        wrong, plain = (edits(words(clip["text"], p), words(text, p)) for p in (False, True))
        n, n_plain = len(words(clip["text"])), len(words(clip["text"], True))
        clips.append(
            {
                "file": clip["file"],
                "words": n,
                "errors": wrong,
                "wer": wrong / n,
                "wer_plain": plain / n_plain,
                "errors_plain": plain,
                "heard": text,
            }
        )
    total = sum(c["words"] for c in clips)
    wer = sum(c["errors"] for c in clips) / total
    wer_plain = sum(c["errors_plain"] for c in clips) / total
    return {
        "wer": wer,
        "wer_plain": wer_plain,
        "quality": max(0.0, 1 - wer),
        "work_s": cpu_s / tasks,
        "cpu_s_per_sound_s": cpu_s / sound_s,
        "files": clips,
    }


def objects(bench: Bench, row: library.Implementation, folder: Path) -> dict[str, Any]:
    """Precision and recall of one implementation on every video, and CPU seconds a task."""
    truths = json.loads((folder / "truth.json").read_text())
    files, cpu_s, tasks, looked = [], 0.0, 0, 0
    listed = frozenset(span.label for truth in truths.values() for span in spans(truth, 1.0))
    for name, truth in truths.items():
        if not (folder / name).exists():
            continue
        said: list[tuple[int, str]] = []
        scenes = bench.scenes(folder / name)
        for scene in scenes:
            frames = bench.run(bench.rows("FrameExtractor")[0], {"scene": scene})
            if not tasks:
                bench.run(row, {"frames": frames})
            before = time.process_time()
            found = bench.run(row, {"frames": frames})
            cpu_s, tasks, looked = cpu_s + time.process_time() - before, tasks + 1, looked + len(frames["times_s"])
            said += [(int(item["t_s"]), one(item["label"])) for item in found["items"]]
        count = score(said, spans(truth, scenes[-1]["end_s"]), float(truth.get("tolerance_s", 1.0)), listed)
        strays = sorted({label for _, label in said} - {span.label for span in spans(truth, 1.0)})
        files.append({"file": name, **count, **rates(count), "strays": strays})
    pooled = rates({k: sum(f[k] for f in files) for k in ("said", "right", "said_listed", "units", "hits")})
    f1 = sum(f["f1"] for f in files) / len(files)
    return {**pooled, "f1": f1, "quality": f1, "work_s": cpu_s / tasks, "cpu_s_per_frame": cpu_s / max(1, looked), "files": files}


def fresh(row: library.Implementation) -> dict[str, float]:
    """Seconds from the start of a process of its own until the model is loaded, and its resident memory then in MB."""
    code = (
        "import importlib, json, psutil, sys\n"
        "module, name, options = json.loads(sys.argv[1])\n"
        "getattr(importlib.import_module(module), name)(**options).load()\n"
        "print(psutil.Process().memory_info().rss >> 20)"
    )
    start = time.perf_counter()
    what = json.dumps([*row.entry.split(":"), dict(row.options)])
    done = subprocess.run([sys.executable, "-c", code, what], capture_output=True, text=True, check=True)
    return {"load_s": time.perf_counter() - start, "load_memory_mb": float(done.stdout.split()[-1])}


def show(agent: str, name: str, result: dict[str, Any]) -> None:
    """The table of one implementation."""
    print(
        f"\n{agent} · {name}   quality {result['quality']:.3f}, {result['work_s']:.2f} CPU-s a task, load {result['load_s']:.1f} s (measured)"
    )
    for f in [*result["files"], {**result, "file": "overall"}]:
        if agent == "SpeechToText":
            print(f"  {f['file']:<52} WER {f['wer']:6.1%}   plain {f['wer_plain']:6.1%}   {f.get('heard', '')[:60]}")
        else:
            figures = "   ".join(f"{k} {f[k]:6.1%}" for k in ("precision", "recall", "f1", "listed"))
            print(f"  {f['file']:<28} {figures}   {', '.join(f.get('strays', ()))}")


def main() -> int:
    root = Path(os.environ.get("MURAKKAB_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    parser = argparse.ArgumentParser(description="word error rate, and objects' precision and recall, on labelled media")
    parser.add_argument("--data", type=Path, default=root / "data" / "media", help="folder with speech/ and video/ (default %(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here too")
    parser.add_argument("--only", default="", help="only implementations whose name contains this")
    options = parser.parse_args()
    if (options.data / "media").is_dir():  # the folder above was meant
        options.data /= "media"
    report: dict[str, Any] = {"how": "measured", "data": options.data.name, "results": {}, "left_out": {}}
    benches = (("SpeechToText", speech, "speech", "transcripts.jsonl"), ("ObjectDetector", objects, "video", "truth.json"))
    if not any((options.data / folder / labels).is_file() for _, _, folder, labels in benches):
        parser.error(f"--data {options.data}: neither speech/transcripts.jsonl nor video/truth.json is there")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for agent, measure, part, labels in benches:
            if not (options.data / part / labels).is_file():
                continue
            for row in library.implementations().values():
                if row.agent != agent or options.only not in row.name:
                    continue
                if why := library.missing(row, os.environ):
                    report["left_out"][row.name] = why
                    print(f"\n{agent} · {row.name}   left out: {why}")
                    continue
                result = {"how": "measured", "agent": agent, **fresh(row), **measure(bench, row, options.data / part)}
                report["results"][row.name] = result
                show(agent, row.name, result)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

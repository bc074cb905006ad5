"""Answers for people: one form for each type that a job's last stages give, JSON for all others."""

from __future__ import annotations

import json
from typing import Any, TextIO


def print_answer(answer: list[Any], out: TextIO) -> None:
    for part in answer:
        print(file=out)
        match part:
            case {"objects_seen": seen, "objects_mentioned": mentioned}:
                print(f"{part['name']}", file=out)
                for o in seen:
                    print(f"  seen       {o['label']:<14} {o['start_s']:6.1f} s to {o['end_s']:6.1f} s   score {o['score']:.2f}", file=out)
                for o in mentioned:
                    print(f'  mentioned  {o["label"]:<14} {o["start_s"]:6.1f} s   "{o["quote"]}"', file=out)
                if not seen and not mentioned:
                    print("  no objects seen or mentioned", file=out)
                for line in part["summary"].splitlines():
                    print(f"  summary    {line}", file=out)
                if part.get("summary_dropped"):
                    print(
                        f"  ({len(part['summary_dropped'])} sentences of the language model were dropped: they contradict the facts)",
                        file=out,
                    )
            case {"question": question, "answer": text, "confidence": float(share), "paths": int(paths)}:
                right = {True: ", right", False: ", wrong"}.get(part.get("correct"), "")
                print(
                    f"question   {_short(question)}\nanswer     {text or 'none'}   ({round(share * paths)} of {paths} paths{right})",
                    file=out,
                )
            case {"code": code, "passed": passed, "candidates": many}:
                how = f"{part['passed_tests']} of {part['total_tests']} tests" if part.get("total_tests") else "no tests"
                print(f"{part.get('task_id') or 'code'}   {'passes' if passed else 'fails'} ({how}; {many} candidates)", file=out)
                if part.get("error"):
                    print(f"  {part['error']}", file=out)
                print("\n".join(f"  | {line}" for line in code.splitlines()), file=out)
            case {"question": question, "answer": text}:
                print(f"question   {question}\nanswer     {text}", file=out)
                for e in part.get("evidence", ()):
                    print(f'  {e["name"]} {e["start_s"]:.1f} s ({e["kind"]}, {e["score"]:.2f}): "{e["text"]}"', file=out)
            case {"question": question, "items": items}:
                print(f"found for '{question}'", file=out)
                for e in items:
                    print(f'  {e["name"]} {e["start_s"]:.1f} s ({e["kind"]}, {e["score"]:.2f}): "{e["text"]}"', file=out)
            case _:
                print(json.dumps(part, indent=2), file=out)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:99] + "…"

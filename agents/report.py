"""The answer of the video job for one video: facts gathered, nothing added. No model."""

from __future__ import annotations

from .facts import mentioned, seen
from .interface import BadInput, Call
from .types import Detections, Summary, Transcript, VideoReport


class FactList:
    """Gathers what was seen and said in all scenes of a video, and joins the scenes' summaries in order of time."""

    def load(self) -> None:
        from .vocabulary import vocabulary

        vocabulary()

    def run(self, call: Call) -> VideoReport:
        transcripts = call.maybe("transcripts", list[Transcript]) or []
        detections = call.maybe("detections", list[Detections]) or []
        summaries = sorted(call.maybe("summaries", list[Summary]) or [], key=lambda s: s.scene.start_s)
        scenes = [*(t.scene for t in transcripts), *(d.scene for d in detections), *(s.scene for s in summaries)]
        if not scenes:
            raise BadInput("a report needs transcripts, detections or summaries; none was given")
        if len({scene.media.sha256 for scene in scenes}) > 1:
            raise BadInput(f"a report is of one video, but the inputs are of {', '.join(sorted({s.name for s in scenes}))}")
        texts = [(s.scene, s.text.strip()) for s in summaries if s.text.strip()]
        several = len(summaries) > 1
        joined = "\n".join(f"{scene.start_s:.1f}–{scene.end_s:.1f} s: {text}" if several else text for scene, text in texts)
        segments = sorted((s for t in transcripts for s in t.segments), key=lambda s: (s.start_s, s.end_s))
        return VideoReport(
            name=scenes[0].name,
            objects_seen=tuple(seen(detections)),
            objects_mentioned=tuple(mentioned(transcripts)),
            transcript=tuple(segments),
            summary=joined,
            summary_dropped=tuple(reason for s in summaries for reason in s.dropped),
        )

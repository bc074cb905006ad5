"""Words of a text as a planner compares them: split, without case and endings, and with what general English takes for the same. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
"""Pieces of camelCase and snake_case names are tokens of their own."""

_STOP = """
a an the this that these those it its he she they them his her their i me my we our you your us is are was were be been being am
do does did done have has had having will would shall should can could may might must of in on at to for from by with as into onto
and or but if then than so not no nor too very just also please help want need like wish let lets get give given provide using use
used based which who whom whose what when where why how there here any some all each every other another more most such same own
both between after before during while about over under again once only out up down off s t d ll m re ve example hello hi hey
first second third next finally lastly one two new following called named file able via
"""
STOP = frozenset(_STOP.split())
"""Words that say nothing about which agent is meant."""

_GROUPS = """
combine merge join stitch splice mix blend concatenate unite fuse
create generate make produce compose build craft design synthesize
modify change alter adjust edit transform adapt tweak
remove reduce eliminate clean delete cancel strip
extract obtain pull isolate derive
find search look seek discover locate lookup
download fetch retrieve acquire save
rewrite rephrase paraphrase reword restate
summarize summary condense shorten concise brief digest
simplify simple simpler easy easier understandable plain
expand elaborate lengthen detail detailed descriptive extend
transcribe transcript transcription dictation
translate translation english french spanish german italian chinese japanese portuguese russian arabic hindi korean dutch language
speech voice spoken speak say said talk speaker utterance mention vocal narration
sound audio recording acoustic
image picture photo photograph drawing illustration graphic artwork painting
video movie clip film footage
text words document article passage paragraph written
url link hyperlink website webpage web
question answer ask reply respond response
correct fix mistake error wrong proofread grammar
similar similarity alike resemble comparable compare comparison
classify classification category categorize class categorise
detect recognize recognise identify identification spot
color colour colorize colored colorful
sentiment emotion mood feeling attitude
keyword term phrase
topic theme subject idea
speed faster slower pace tempo quicker
noise noisy background
stabilize shaky steady smooth stable
style stylize artistic stylistic
buy purchase order
book reserve reservation booking
send deliver mail
show display shown seen visible appear
price cost fee
weather forecast temperature
delete erase remove
inquire query check lookup
remind reminder
schedule agenda calendar plan
hotel accommodation room
flight airline plane airplane
film movie
person people actor actress
rate rating
recommend recommendation suggest suggestion
enhance improve enhancement quality
segment segmentation divide partition
table tabular spreadsheet
depth distance
converse conversation conversational chat dialogue chatbot
entity entities named noun
"""
"""Groups of words that general English uses for one another; nothing here names a tool."""


def stem(word: str) -> str:
    """A word without its usual English endings; rough, so that forms of one word mostly meet."""
    w = word
    if len(w) <= 3:
        return w
    for ending, instead in _ENDINGS:
        if w.endswith(ending) and len(w) - len(ending) >= 3:
            w = w[: -len(ending)] + instead
            break
    if len(w) > 4 and w[-1] == w[-2] and w[-1] not in "lsz":
        w = w[:-1]
    return w.removesuffix("e") if len(w) > 4 else w


_ENDINGS = (
    ("izations", "iz"),
    ("ization", "iz"),
    ("ifications", "ifi"),
    ("ification", "ifi"),
    ("ations", "at"),
    ("ation", "at"),
    ("izers", "iz"),
    ("izer", "iz"),
    ("ising", "iz"),
    ("ised", "iz"),
    ("ise", "iz"),
    ("izing", "iz"),
    ("ized", "iz"),
    ("izes", "iz"),
    ("ize", "iz"),
    ("ier", "i"),
    ("ies", "i"),
    ("ied", "i"),
    ("ying", "i"),
    ("ments", ""),
    ("ment", ""),
    ("ings", ""),
    ("ing", ""),
    ("ers", ""),
    ("er", ""),
    ("ors", ""),
    ("or", ""),
    ("ions", ""),
    ("ion", ""),
    ("edly", ""),
    ("ed", ""),
    ("es", ""),
    ("ly", ""),
    ("s", ""),
    ("y", "i"),
)


@lru_cache(maxsize=50_000)
def stemmed(word: str) -> str:
    return stem(word)


GROUP: dict[str, frozenset[int]] = {}
for _n, _line in enumerate(_GROUPS.strip().splitlines()):
    for _w in _line.split():
        GROUP[stem(_w)] = GROUP.get(stem(_w), frozenset()) | {_n}


def tokens(text: str) -> list[str]:
    """Lower-case words in order, names in camelCase and snake_case taken apart."""
    return [t.lower() for t in _TOKEN.findall(text)]


def content(text: str) -> list[str]:
    """Stems of the words that say something, in order."""
    return [stemmed(t) for t in tokens(text) if t not in STOP and (len(t) > 1 or not t.isascii())]


@lru_cache(maxsize=100_000)
def alike(one: str, other: str) -> float:
    """How much two stems are the same word, 0..1: equal, a long common beginning, or one group of words."""
    if one == other:
        return 1.0
    n = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        n += 1
    if n >= 4 and n >= 0.6 * max(len(one), len(other)):
        return 0.9
    if n >= 5:
        return 0.6
    if GROUP.get(one, frozenset()) & GROUP.get(other, frozenset()):
        return 0.6
    return 0.0

"""Constants that `scripts/fit_planner.py` fitted on development data; made by it, not by hand."""

from __future__ import annotations

WEIGHTS: dict[str, dict[str, float]] = {
    "minilm": {
        "cos": 2.62, "cos_sentence": 4.44, "cos_name": 1.71, "name_share": 0.33, "name_sum": 1.2, "doc_sum": 6.29, "alias": 3.0,
        "out": 0.79, "in": 1.42, "not_out": -0.82, "not_in": 0.64, "near": -0.3,
        "none": 5.34, "none_have": 1.65, "none_short": 0.8, "none_cos": 4.08,
    },
    "hashed": {
        "cos": 2.62, "cos_sentence": 4.44, "cos_name": 1.71, "name_share": 0.33, "name_sum": 1.2, "doc_sum": 6.29, "alias": 3.0,
        "out": 0.79, "in": 1.42, "not_out": -0.82, "not_in": 0.64, "near": -0.3,
        "none": 5.34, "none_have": 1.65, "none_short": 0.8, "none_cos": 0.0,
    },
}  # fmt: skip

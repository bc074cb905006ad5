"""The goals of a job; a list of them is a priority list, the first matters most."""

MIN_COST = "MIN_COST"
MIN_LATENCY = "MIN_LATENCY"
MIN_ENERGY = "MIN_ENERGY"
MAX_QUALITY = "MAX_QUALITY"

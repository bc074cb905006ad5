"""Measures what implementations take on this machine, in processes like those of a worker, and writes it down as profiles."""

"""Readers and writers of labelled sets, one file a format; ``reading.py`` has them in a table."""

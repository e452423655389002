"""Writes `metrics.jsonl` as a run does."""

import json


def write_metrics(workdir, *lines, end="\n"):
    """Writes a line for each dict, or for a text the text itself, into `metrics.jsonl`; returns its path."""
    workdir.mkdir(parents=True, exist_ok=True)
    texts = [
        line if isinstance(line, str) else json.dumps({"time": "2026-01-02T03:04:05.678+00:00"} | line)
        for line in lines
    ]
    path = workdir / "metrics.jsonl"
    path.write_text("\n".join(texts) + end)
    return path

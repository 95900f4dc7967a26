"""Prints the events of a log file, one to a line: LEVEL, message, fields; from text and from JSON, flat or nested."""

import json
import os
import re
import sys

ANSI = re.compile(r"\x1b\[[0-9;]*m")
EVENT = re.compile(r"^\S+\s+(TRACE|DEBUG|INFO|WARN|ERROR)\s+(.*)$")


def from_json(line):
    event = json.loads(line)
    fields = {**event, **event.get("fields", {})}
    words = [str(fields.pop("level", "")).upper(), str(fields.pop("message", ""))]
    skipped = ("fields", "timestamp", "time")
    words += [f"{key}={value}" for key, value in fields.items() if key not in skipped]
    return " ".join(words)


def main(path):
    events = []
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log:
            line = ANSI.sub("", line.rstrip("\n"))
            if line.startswith("{"):
                events.append(from_json(line))
            elif match := EVENT.match(line):
                events.append(f"{match[1]} {match[2]}")
            elif events:
                events[-1] += f" | {line.strip()}"
    try:
        for event in events:
            print(event.replace("\n", " | "))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has found what it looked for. Nothing is left to be flushed at the end, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


main(sys.argv[1])

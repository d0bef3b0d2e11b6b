"""Access-log lines of a data plane (ztunnel's format): time, level, target, message and key=value pairs, by tabs."""

import json
import re

_FIELD = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S+)')


def parse(line):
    """The fields of one access-log line, with "level" and "message" beside them; None for any other line."""
    parts = line.rstrip("\n").split("\t")
    if len(parts) < 4 or parts[2] != "access":
        return None
    fields = {"time": parts[0], "level": parts[1].lower(), "message": parts[3]}
    for key, value in _FIELD.findall("\t".join(parts[4:])):
        fields[key] = json.loads(value) if value.startswith('"') else value
    return fields


def read(path):
    """Every access-log line of a log file, oldest first."""
    with open(path, encoding="utf-8", errors="replace") as lines:
        return [fields for fields in map(parse, lines) if fields is not None]

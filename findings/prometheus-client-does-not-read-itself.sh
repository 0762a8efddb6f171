#!/usr/bin/env bash
# The parser of OpenMetrics in prometheus_client refuses a histogram that prometheus_client wrote, if it has a bucket below zero.
#
# Version: prometheus_client 0.26.0 (PyPI).
# Guess: text_string_to_metric_families reads whatever generate_latest wrote, in either format.
# Behaviour: with a bucket below zero there is no sum, as OpenMetrics wants it; but there is a count, and that is to be there only
#   together with a sum. The parser of the same package keeps to it and refuses the whole page. In the older text format it is read.
# Seen, of a histogram of differences in seconds:
# | OpenMetrics, buckets from 0: _bucket _count _created _sum, read again: difference_seconds
# | OpenMetrics, buckets from -1: _bucket _count _created, read again: ValueError: _sum/_gsum must be present if _count is present
# | text, buckets from 0: _bucket _count _created _sum, read again: difference_seconds
# | text, buckets from -1: _bucket _count _created, read again: difference_seconds
. "$(dirname "$0")/lib.sh"

python --no-deps prometheus_client==0.26.0

python3 - <<'PYTHON' | as_described
import re

from prometheus_client import CollectorRegistry, Histogram, exposition, parser
from prometheus_client.openmetrics import exposition as new_exposition, parser as new_parser

FORMATS = {"OpenMetrics": (new_exposition, new_parser), "text": (exposition, parser)}


def read(text, format_parser):
    try:
        return next(iter(format_parser.text_string_to_metric_families(text))).name
    except ValueError as error:
        return f"ValueError: {error}".removesuffix(": difference_seconds")


for name, (writer, reader) in FORMATS.items():
    for lowest in 0, -1:
        registry = CollectorRegistry()
        Histogram("difference_seconds", "Of two clocks.", buckets=(lowest, 1), registry=registry).observe(0.5)
        text = writer.generate_latest(registry).decode()
        suffixes = " ".join(sorted(set(re.findall(r"^difference_seconds(_\w+)", text, re.MULTILINE))))
        print(f"{name}, buckets from {lowest}: {suffixes}, read again: {read(text, reader)}")
PYTHON

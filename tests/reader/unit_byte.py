#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Where to damage one unit of a segment, and nothing else?

    unit_byte.py SEGMENT

Prints the offset of a payload byte of the unit nearest the file's middle. The
middle itself may belong to an index, which thousands of blocks hang on.
"""
import struct, sys

UNITS = 3


def records(data):
    at = struct.unpack_from("<I", data, 12)[0]
    while at + 32 <= len(data) and data[at:at + 4] == b"URec":
        kind, _, length = struct.unpack_from("<HHI", data, at + 4)
        yield kind, at + 32, length
        at += 32 + (length + 7) // 8 * 8


def payload_bytes(data):
    for kind, at, length in records(data):
        end = at + length if kind == UNITS else at
        while at < end:
            unit, codec = struct.unpack_from("<IB", data, at)
            count = struct.unpack_from("<I", data, at + 16)[0]
            if codec:
                yield (at + 40 + 16 * count + at + unit - 16) // 2
            at += unit


data = open(sys.argv[1], "rb").read()
print(min(payload_bytes(data), key=lambda at: abs(at - len(data) // 2)))

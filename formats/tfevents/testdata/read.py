#!/usr/bin/env python3
"""Reads a TensorBoard event file with nothing but Python's standard library and
prints its events as JSON, one a line. It shares no code with the Go package:
CRC-32C bit by bit, the protocol buffers from their published grammar.

    python3 read.py FILE > FILE.json
"""
import json
import struct
import sys


def crc32c(data):
    c = 0xFFFFFFFF
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
    return c ^ 0xFFFFFFFF


def masked(data):
    c = crc32c(data)
    return (((c >> 15) | (c << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(b, i):
    value = shift = 0
    while True:
        value |= (b[i] & 127) << shift
        i += 1
        if b[i - 1] < 128:
            return value, i
        shift += 7


def fields(b):
    i = 0
    while i < len(b):
        tag, i = varint(b, i)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, i = varint(b, i)
        elif wire == 1:
            value, i = struct.unpack_from("<d", b, i)[0], i + 8
        elif wire == 5:
            value, i = struct.unpack_from("<f", b, i)[0], i + 4
        elif wire == 2:
            n, i = varint(b, i)
            value, i = b[i:i + n], i + n
            assert len(value) == n
        else:
            raise ValueError(f"wire type {wire}")
        yield number, value


def histogram(b):
    names = {1: "min", 2: "max", 3: "num", 4: "sum", 5: "sum_squares", 6: "limits", 7: "buckets"}
    out = {}
    for number, value in fields(b):
        if number in (6, 7):
            value = list(struct.unpack(f"<{len(value) // 8}d", value))
        out[names[number]] = value
    return out


def event(b):
    out = {"values": []}
    for number, value in fields(b):
        if number == 1:
            out["wall_time"] = value
        elif number == 2:
            out["step"] = value
        elif number == 3:
            out["version"] = value.decode()
        elif number == 5:
            for _, v in fields(value):
                entry = {}
                for n, x in fields(v):
                    if n == 1:
                        entry["tag"] = x.decode()
                    elif n == 2:
                        entry["scalar"] = x
                    elif n == 5:
                        entry["histogram"] = histogram(x)
                out["values"].append(entry)
        elif number == 7:
            out["start"] = (1, 1) in list(fields(value))
    return out


def main():
    data = open(sys.argv[1], "rb").read()
    i = 0
    while i < len(data):
        (n,) = struct.unpack_from("<Q", data, i)
        (sum_n,) = struct.unpack_from("<I", data, i + 8)
        assert masked(data[i:i + 8]) == sum_n, "checksum of a length"
        body = data[i + 12:i + 12 + n]
        (sum_b,) = struct.unpack_from("<I", data, i + 12 + n)
        assert masked(body) == sum_b, "checksum of a record"
        print(json.dumps(event(body)))
        i += 16 + n


main()

#!/usr/bin/env python3
"""Who is here, in gwsocket's strict packets: 12 bytes of header, then the payload.

The header is three unsigned 32-bit numbers in network byte order: client id (0 = everyone),
type, payload length. Lengths are counted, so a payload may hold newlines and NUL.
"""

import struct
import sys

HEADER = struct.Struct("!III")
TEXT, BINARY, LEFT, JOINED = 0x01, 0x02, 0x08, 0x10
EVERYONE = 0


def receive():
    """Yields (client, type, payload) until stdin ends, which it does between two packets."""
    stdin = sys.stdin.buffer
    while header := stdin.read(HEADER.size):
        client, kind, length = HEADER.unpack(header)
        yield client, kind, stdin.read(length)


def send(client, kind, payload):
    sys.stdout.buffer.write(HEADER.pack(client, kind, len(payload)) + payload)
    # Python keeps output back when stdout is a pipe: without this nobody hears anything
    # until several kilobytes have come together.
    sys.stdout.buffer.flush()


here = {}
for client, kind, payload in receive():
    if kind == JOINED:
        # The address, padded with NUL to a fixed width.
        here[client] = payload.rstrip(b"\0").decode("ascii", "replace")
        send(client, TEXT, b"you are %d" % client)
        send(EVERYONE, TEXT, b"%d here" % len(here))
    elif kind == LEFT:
        here.pop(client, None)
        send(EVERYONE, TEXT, b"%d here" % len(here))
    elif kind == TEXT and payload == b"who":
        send(client, TEXT, "\n".join(f"{n} {address}" for n, address in here.items()).encode())
    elif kind in (TEXT, BINARY):
        # Everything else goes to everyone as it came.
        send(EVERYONE, kind, payload)

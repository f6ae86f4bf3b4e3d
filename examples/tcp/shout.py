#!/usr/bin/env python3
"""Repeats every line in capitals, over TCP: the server names the port in PORT and connects once.

stdin is empty here, and what is printed goes to the server's log, not to the clients.
"""

import os
import socket
import sys

with socket.create_server(("127.0.0.1", int(os.environ["PORT"]))) as listener:
    # Flushed, because Python keeps output back for a pipe and the log should show it now.
    print("listening for room", os.environ.get("ROOM", "?"), file=sys.stderr, flush=True)
    room, _ = listener.accept()

with room, room.makefile("rb") as lines:
    # Ends when the server closes its direction: the last client has left.
    for line in lines:
        room.sendall(line.upper())

"""The program of the console's rooms: a line says what it does, and any other comes back.

`json` prints a long object, `binary` bytes that are no text, `meta` a room's metadata (for --frame=json),
`flood N SIZE` so many lines, `whisper TEXT` writes to stderr, `work SECONDS` keeps a processor busy, `exit N` ends.
"""

import json
import sys
import time

out = sys.stdout.buffer


def say(line):
    out.write(line + b"\n")
    out.flush()


for line in sys.stdin.buffer:
    line = line.rstrip(b"\n")
    word, _, rest = line.decode("utf-8", "replace").partition(" ")
    if word == "json":
        say(json.dumps({"kind": "move", "from": "e2", "to": "e4", "clock": {"white": 300, "black": 299.5}}).encode())
    elif word == "binary":
        say(bytes(range(128, 256)))
    elif word == "flood":
        count, size = (int(number) for number in rest.split())
        out.write(b"".join(b"%012d%s\n" % (n, b"." * (size - 12)) for n in range(count)))
        out.flush()
    elif word == "whisper":
        print(rest, file=sys.stderr, flush=True)
    elif word == "work":
        until = time.process_time() + float(rest)
        while time.process_time() < until:
            pass
        say(b"done")
    elif word == "exit":
        sys.exit(int(rest))
    elif b'"meta"' in line:
        say(b'{"_meta":true,"game":"chess","level":3}')
    else:
        say(line)

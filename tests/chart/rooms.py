"""A room's program for the tests of docs/deploy.md: objects of JSON with a sender, as --frame=json makes them.

Who says "who" gets the room's variables, "end" ends the program, "close" the connection of who says it; anything
else comes back.
"""

import json
import os
import sys

for line in sys.stdin:
    message = json.loads(line)
    sender = {"id": message["id"]}
    if "who" in message:
        print(json.dumps(sender | dict(os.environ)), flush=True)
    elif "close" in message:
        print(json.dumps({"_close": message["id"], "_reason": message["close"]}), flush=True)
    elif "end" in message:
        break
    else:
        print(line, end="", flush=True)

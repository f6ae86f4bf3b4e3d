#!/usr/bin/env python3
"""A race by dice. All that is chance in it comes from the room's UNIQUE_ID, which a recording has."""

import json
import os
import random
import sys

GOAL = 30
dice = random.Random(os.environ["UNIQUE_ID"])
at = {}


def say(**message):
    print(json.dumps(message), flush=True)


for line in sys.stdin:
    told = json.loads(line)
    who = told["id"]
    if "join" in told:
        at[who] = 0
        say(id=who, welcome="to the race")
    elif "leave" in told:
        at.pop(who, None)
    elif told.get("do") == "throw" and who in at:
        thrown = dice.randint(1, 6)
        at[who] += thrown
        if at[who] >= GOAL:
            say(winner=who)
            at = dict.fromkeys(at, 0)
    else:
        continue
    say(board=at)

#!/usr/bin/env python3
"""A whiteboard: remembers the lines that are on it, so that whoever comes later sees them all.

With --frame=json the server adds "id" to what clients say: the sender's number, which cannot be
forged; what has none is the server's own --joinmsg and --leavemsg. What is printed with "id" goes
to that client alone, the rest to everyone. `--cache` would keep the last so many messages, however
few lines they are, and those that were wiped away; only a program knows what is still on the board.
"""

import json
import sys

POINTS = 100_000  # on the board; beyond it the oldest lines fade
BEGUN = 10  # points that a line counts for besides its own, as it is no less to remember and to tell
SOME = 500  # lines in one message for somebody who has just come


def say(**message):
    # flush: Python keeps output back when stdout is a pipe, and a pen cannot wait for that.
    print(json.dumps(message, separators=(",", ":")), flush=True)


def is_point(point):
    return isinstance(point, list) and len(point) == 2 and all(type(n) is int and 0 <= n <= 10_000 for n in point)


class Board:
    def __init__(self):
        self.lines = {}  # (who, number) -> line, in the order in which they were begun
        self.points = 0

    def shows(self, who):
        """Everything that is there, to one who has just come."""
        lines = list(self.lines.values())
        say(type="board", id=who, you=who)
        for at in range(0, len(lines), SOME):
            say(type="lines", id=who, lines=lines[at : at + SOME])

    def draws(self, who, message):
        """A line, or more points of one that this client has begun."""
        number, colour, width = numbers = [message.get(key) for key in ("line", "colour", "width")]
        if not all(type(n) is int and 0 <= n < most for n, most in zip(numbers, (1 << 32, 100, 100))):
            return
        points = message.get("points")
        if not isinstance(points, list) or not points or not all(map(is_point, points)):
            return
        line = self.lines.get((who, number))
        if line is None:
            line = self.lines[who, number] = {"by": who, "line": number, "colour": colour, "width": width, "points": []}
            self.points += BEGUN
        begins = line["points"][-1:]
        line["points"] += points
        self.points += len(points)
        say(type="lines", lines=[{**line, "points": begins + points}])
        while self.points > POINTS:
            self.wipes(*next(iter(self.lines)))

    def wipes(self, who, number):
        line = self.lines.pop((who, number), None)
        if line:
            self.points -= len(line["points"]) + BEGUN
            say(type="wiped", by=who, line=number)

    def undoes(self, who):
        own = [number for by, number in self.lines if by == who]
        if own:
            self.wipes(who, own[-1])

    def clears(self):
        self.lines.clear()
        self.points = 0
        say(type="board")


def main():
    board, here = Board(), set()
    for line in sys.stdin.buffer:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            continue  # an object for the server, but too odd for this parser (a number of 5000 digits)
        kind, who = message.get("type"), message.get("id")
        if who is None and "joined" in message:
            here.add(message["joined"])
            board.shows(message["joined"])
        elif who is None:
            here.discard(message.get("left"))
        elif kind == "draw":
            board.draws(who, message)
        elif kind == "undo":
            board.undoes(who)
        elif kind == "clear":
            board.clears()
        if who is None:
            say(type="here", count=len(here))


main()

#!/usr/bin/env python3
"""Coin run: players on a small board, one coin; whoever steps on it scores.

With --frame=json every message from a client is an object to which the server has added "id",
the sender's number; it cannot be forged. An object printed with "id" goes to that client alone,
any other line to everyone. The board lives here, and pages only draw what they are told.
"""

import json
import random
import sys

WIDTH, HEIGHT = 16, 12
STEPS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}


def say(message, to=None):
    if to is not None:
        message["id"] = to
    # flush: Python keeps output back when stdout is a pipe, and a game cannot wait for that.
    print(json.dumps(message), flush=True)


class Board:
    def __init__(self):
        self.players = {}  # id -> {"at": [x, y], "score": n}
        self.coin = self.free_place()

    def free_place(self):
        taken = {tuple(player["at"]) for player in self.players.values()}
        places = [(x, y) for x in range(WIDTH) for y in range(HEIGHT) if (x, y) not in taken]
        # With more players than places they share.
        return list(random.choice(places or [(0, 0)]))

    def join(self, who):
        if who not in self.players:
            self.players[who] = {"at": self.free_place(), "score": 0}
        say({"type": "welcome", "you": who, "width": WIDTH, "height": HEIGHT}, to=who)

    def leave(self, who):
        self.players.pop(who, None)

    def move(self, who, direction):
        player = self.players.get(who)
        step = STEPS.get(direction) if isinstance(direction, str) else None
        if player is None or step is None:
            return False
        x, y = player["at"]
        player["at"] = [min(max(x + step[0], 0), WIDTH - 1), min(max(y + step[1], 0), HEIGHT - 1)]
        if player["at"] == self.coin:
            player["score"] += 1
            self.coin = self.free_place()
        return True

    def show(self):
        players = [{"player": who, **player} for who, player in self.players.items()]
        say({"type": "board", "coin": self.coin, "players": players})


def main():
    board = Board()
    for line in sys.stdin.buffer:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            # The server lets only objects through, but not every object suits every parser
            # (a number of five thousand digits); one client's message must not end the game.
            continue
        # "join" and "leave" come from the server's --joinmsg and --leavemsg. A client that sends
        # them itself only resets its own player, because "id" is always the sender's.
        kind, who = message.get("type"), message.get("id")
        if kind == "join":
            board.join(who)
        elif kind == "leave":
            board.leave(who)
        elif kind != "move" or not board.move(who, message.get("dir")):
            continue
        board.show()


main()

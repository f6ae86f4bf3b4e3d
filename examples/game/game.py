#!/usr/bin/env python3
"""Splash: whoever walks leaves paint behind; a line that closes fills what it encloses.

With --frame=json the server adds "id" to what clients say: the sender's number, which cannot be forged; what has none
is the server's own --leavemsg. What is printed with "id" goes to that client alone, "_meta" is what the lobby reads at
/api/rooms/, the rest goes to everyone. A page shows the token that it made up once, so who comes back is who they were.
"""

import json
import os
import queue
import sys
import threading
import time

WIDTH, HEIGHT = 32, 20
TICK, ROUND, PODIUM = 0.12, 90, 8  # seconds: a step, a game, a look at who has won
MOST = 12  # players: as many colours as people can tell apart
STEPS = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0), "stop": (0, 0)}


def say(**message):
    # flush: Python keeps output back when stdout is a pipe, and a game cannot wait for that.
    print(json.dumps(message, separators=(",", ":")), flush=True)


class Game:
    def __init__(self):
        self.players = {}  # token -> player
        self.by_id = {}  # client id -> player
        self.news, self.now = True, 0  # something to tell that is no step; seconds, as of the last tick
        self.begins()

    def begins(self):
        self.playing, self.until = True, self.now + ROUND
        self.floor = [0] * (WIDTH * HEIGHT)  # each cell the number of the player who holds it
        self.players = {token: p for token, p in self.players.items() if p["id"]}
        for player in self.players.values():
            self.place(player)
        self.tell_floor()
        self.told = list(self.floor)

    def place(self, player):
        number = player["number"]
        player.update(going="stop", at=[3 + number * 7 % (WIDTH - 6), 3 + number * 5 % (HEIGHT - 6)])
        self.floor[player["at"][1] * WIDTH + player["at"][0]] = number

    def enters(self, who, name, token):
        # A stranger's JSON: anything may stand where a text should.
        name, token = (" ".join(t.split())[:64] if isinstance(t, str) else "" for t in (name, token))
        player = self.players.get(token or who)
        if player is None:
            if len(self.players) < MOST:
                number = min(set(range(1, MOST + 1)) - {p["number"] for p in self.players.values()})
                self.place(player := {"number": number, "id": None, "wins": 0})
            elif away := [key for key, p in self.players.items() if not p["id"]]:
                # Who is here goes before who may come back, and gets their paint.
                player = self.players.pop(away[0]) | {"wins": 0}
            else:
                return self.tell_floor(full=MOST, id=who)
            self.players[token or who] = player
        if self.by_id.pop(player["id"], None):
            say(type="elsewhere", id=player["id"])  # in a second window: the newer one plays
        player.update(id=who, name=name[:16] or f"player {player['number']}")
        self.by_id[who] = player
        self.news = True
        self.tell_floor(you=player["number"], id=who)

    def step(self, player):
        (x, y), (dx, dy) = player["at"], STEPS[player["going"]]
        x, y = place = [min(max(x + dx, 0), WIDTH - 1), min(max(y + dy, 0), HEIGHT - 1)]
        if place == player["at"]:
            return False
        player["at"] = place
        if self.floor[y * WIDTH + x] == player["number"]:
            self.fill(player["number"])  # back on the own paint: perhaps a line has closed
        self.floor[y * WIDTH + x] = player["number"]
        return True

    def fill(self, number):
        """Gives a player every cell from which no way leads out but over the player's own paint."""
        edge = [(x, y) for x in range(WIDTH) for y in range(HEIGHT) if x % (WIDTH - 1) == 0 or y % (HEIGHT - 1) == 0]
        outside = set()
        while edge:
            x, y = edge.pop()
            cell = y * WIDTH + x
            if 0 <= x < WIDTH and 0 <= y < HEIGHT and cell not in outside and self.floor[cell] != number:
                outside.add(cell)
                edge += [(x + dx, y + dy) for dx, dy in STEPS.values()]
        self.floor = [cell if cell == number or at in outside else number for at, cell in enumerate(self.floor)]

    def tell_floor(self, **more):
        say(type="floor", width=WIDTH, height=HEIGHT, cells=self.floor, **more)

    def tell(self):
        if self.news:
            self.news = say(_meta=True, players=[p["name"] for p in self.by_id.values()])
        players = [{key: p[key] for key in ("number", "name", "at", "wins")} | {"here": bool(p["id"]),
                   "cells": self.floor.count(p["number"])} for p in self.players.values()]
        painted = [[at, cell] for at, (old, cell) in enumerate(zip(self.told, self.floor)) if old != cell]
        self.told = list(self.floor)
        say(type="state", playing=self.playing, left=max(0, round(self.until - self.now)), players=players, painted=painted)

    def tick(self, now, lines):
        """A step of everybody who walks; told at once if there is one, or other news, and every second."""
        say(id=[], _replay=lines, now=now)  # heard by nobody: so that `scalesocket replay` has the same clock
        over, second, self.now = now >= self.until, int(now) != int(self.now), now
        if over and self.playing:
            self.playing, self.until = False, now + PODIUM
            held = [self.floor.count(p["number"]) for p in self.players.values()]
            for player, cells in zip(self.players.values(), held):
                player["wins"] += cells == max(held)
        elif over:
            self.begins()
        if any([self.step(p) for p in self.players.values() if self.playing]) or over or second or self.news:
            self.tell()


def main():
    inbox = queue.Queue(16)  # bounded: who floods the game waits for it
    threading.Thread(target=lambda: [*map(inbox.put, sys.stdin.buffer), inbox.put(None)], daemon=True).start()
    game, lines, replayed, start, next_tick = Game(), 0, "SCALESOCKET_REPLAY" in os.environ, time.monotonic(), 0
    while True:
        now = time.monotonic() - start
        if now >= next_tick and not replayed:  # looked at before each line, or a flood of them would stop the clock
            next_tick = now + TICK
            game.tick(round(now, 3), lines)
        try:
            line = inbox.get(timeout=None if replayed else max(0, start + next_tick - time.monotonic()))
            if line is None:  # the last player has left
                return
            lines += 1
            message = json.loads(line)
        except (queue.Empty, ValueError, RecursionError):
            continue  # nothing, or an object that is too odd for this parser (a number of 5000 digits)
        who, kind = message.get("id"), message.get("type")
        if who == []:  # the clock of the recording; clients have a number here
            game.tick(message["now"], message["_replay"])
        elif who is None and (player := game.by_id.pop(message.get("left"), None)):
            player.update(id=None, going="stop")
            game.news = True
        elif kind == "enter" and who not in game.by_id:  # one connection, one player
            game.enters(who, message.get("name"), message.get("token"))
        elif kind == "go" and who in game.by_id and message.get("way") in list(STEPS):
            game.by_id[who]["going"] = message["way"]


main()

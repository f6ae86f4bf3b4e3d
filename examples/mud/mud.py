#!/usr/bin/env python3
"""A small multi-user dungeon on a TCP port: places to walk, things to carry, people to talk to.

With --tcp the server names the port in PORT and connects once for the room; with --frame=gwsocket each line comes in a
packet that says whose it is, and an answer says who hears it: people need nothing but lines of text. A header is three
unsigned 32-bit numbers in network byte order: client id, type, payload length.
"""

import asyncio
import os
import random
import struct

HEADER = struct.Struct("!III")
TEXT, LEFT, JOINED = 0x01, 0x08, 0x10

WORLD = {  # place: what one sees there, and which way leads where
    "harbour": ("Three fishing boats and a smell of tar.", {"north": "market", "east": "beach", "west": "pier"}),
    "pier": ("Planks over green water. At its end a bell rings by itself in the swell.", {"east": "harbour"}),
    "beach": ("Sand, wrack and a wind that takes your words.", {"west": "harbour", "north": "dunes"}),
    "dunes": ("Marram grass up to the knee. To the west you see roofs.", {"south": "beach", "west": "market"}),
    "market": ("Stalls, and an inn with its door open.", {"south": "harbour", "east": "dunes", "north": "inn", "up": "tower"}),
    "tower": ("A hundred steps up. You see the whole bay, and a light far out.", {"down": "market"}),
    "inn": ("A fire, low voices, a stair that goes down.", {"south": "market", "down": "cellar"}),
    "cellar": ("Barrels, and a chest with an iron lock.", {"up": "inn"}),
}
SHORT = {way[0]: way for way in ("north", "east", "south", "west", "up", "down")} | {"l": "look", "i": "inventory"}
KEEPS = 1000  # people who are away and find their place and their things again
HELP = "You can: look, go north (or n), say hello, shout hello, who, take key, drop key, inventory, open chest, dance."


class World:
    def __init__(self, out):
        self.out = out
        self.names = {}  # client id -> name, None until it is told
        self.people, self.away = {}, {}  # name -> [place, things]
        self.things = {"key": "beach", "lantern": "tower", "pear": "market"}
        self.cat = "inn"

    def tell(self, who, text):
        payload = text.encode()
        self.out.write(HEADER.pack(who, TEXT, len(payload)) + payload)

    def others(self, place, text, but=None):
        for who, name in self.names.items():
            if name and who != but and place in (None, self.people[name][0]):
                self.tell(who, text)

    def joins(self, who):
        self.names[who] = None
        self.tell(who, "Saltmarsh\nA small harbour town, in the evening. What is your name?")

    def leaves(self, who):
        if name := self.names.pop(who, None):
            place, _ = self.away[name] = self.people.pop(name)
            self.others(place, f"{name} fades into the mist.")
        if len(self.away) > KEEPS:
            place, bag = self.away.pop(next(iter(self.away)))
            self.things |= dict.fromkeys(bag, place)

    def is_called(self, who, name):
        name = "".join(filter(str.isalnum, name))[:16].capitalize()
        if not name or name in self.people:
            return self.tell(who, f"{name or 'Nobody'} is not a name that is free. Another one?")
        was = self.away.pop(name, None)
        self.names[who], self.people[name] = name, was or ["harbour", []]
        self.tell(who, f"Welcome {'back' if was else 'to Saltmarsh'}, {name}. {HELP}")
        self.others(self.people[name][0], f"{name} steps out of the mist.", but=who)
        self.look(who)

    def look(self, who, *_):
        place = self.people[self.names[who]][0]
        sight, ways = WORLD[place]
        here = [name for other, name in self.names.items() if name and other != who and self.people[name][0] == place]
        here += [f"a {thing}" for thing, at in self.things.items() if at == place] + ["a grey cat"] * (self.cat == place)
        self.tell(who, f"The {place}\n{sight}\nYou can go {', '.join(ways)}." + (f"\nHere: {', '.join(here)}." if here else ""))

    def go(self, who, way):
        name = self.names[who]
        place, ways = self.people[name][0], WORLD[self.people[name][0]][1]
        if way not in ways:
            return self.tell(who, f"There is no way {way or 'like that'}.")
        self.others(place, f"{name} goes {way}.", but=who)
        self.people[name][0] = ways[way]
        self.others(ways[way], f"{name} arrives.", but=who)
        self.look(who)

    def does(self, who, line):
        word, _, rest = line.strip().partition(" ")
        word, rest, name = SHORT.get(word.lower(), word.lower()), rest.strip(), self.names[who]
        (place, bag), thing = self.people[name], rest.lower()
        if word == "go" or word in SHORT.values() and word not in ("look", "inventory"):
            self.go(who, SHORT.get(thing, thing) if word == "go" else word)
        elif word == "look":
            self.look(who)
        elif word in ("say", "shout") and rest:
            self.tell(who, f"You {word}: {rest}")
            self.others(place if word == "say" else None, f"{name} {word}s: {rest}", but=who)
        elif word == "who":
            self.tell(who, "\n".join(["In Saltmarsh", *(f"{n}, {self.people[n][0]}" for n in self.names.values() if n)]))
        elif word == "take" and self.things.get(thing) == place:
            self.things[thing] = None
            bag.append(thing)
            self.others(place, f"{name} takes the {thing}.")
        elif word == "drop" and thing in bag:
            bag.remove(thing)
            self.things[thing] = place
            self.others(place, f"{name} drops the {thing}.")
        elif word == "inventory":
            self.tell(who, f"You carry {', '.join(bag) or 'nothing'}.")
        elif word == "open" and place == "cellar":
            told = "It opens. It is full of stories." if "key" in bag else "It is locked. Somebody has lost its key."
            self.others(place, f"{name} tries the chest. {told}")
        elif word == "dance":
            self.others(place, f"{name} dances. It is contagious.")
        elif word:
            self.tell(who, HELP if word == "help" else f"You cannot {word} that here. Try help.")

    async def cat_walks(self):
        while True:
            await asyncio.sleep(random.uniform(15, 40))
            self.others(self.cat, "The grey cat wanders off.")
            self.cat = random.choice(list(WORLD[self.cat][1].values()))
            self.others(self.cat, "A grey cat comes in and ignores you.")


async def room(reader, writer):
    world = World(writer)
    world.walk = asyncio.create_task(world.cat_walks())  # held, or it might be collected
    while header := await reader.read(HEADER.size):  # nothing: the last client has left
        who, kind, length = HEADER.unpack(header + await reader.readexactly(HEADER.size - len(header)))
        text = (await reader.readexactly(length)).decode("utf-8", "replace")[:500]
        line = "".join(c if c.isprintable() else " " for c in text)  # of several lines it could look like a place
        if kind == JOINED:
            world.joins(who)
        elif kind == LEFT:
            world.leaves(who)
        else:
            (world.does if world.names.get(who) else world.is_called)(who, line)
        await writer.drain()


async def main():
    came = asyncio.get_running_loop().create_future()
    await asyncio.start_server(lambda *streams: came.set_result(streams), "127.0.0.1", int(os.environ["PORT"]))
    await room(*await came)


asyncio.run(main())

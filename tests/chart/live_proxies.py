"""Real proxies in front of the pods of a running fleet: who comes to a room is led straight to the pod that has it.

    python3 tests/chart/live_proxies.py [--proxy nginx]... [--rooms 500] PUBLIC,ADMIN PUBLIC,ADMIN PUBLIC,ADMIN

PUBLIC and ADMIN are the addresses (ip:port) of a pod's listeners; its program must say to everybody what it hears
as the last word of a line, like `cat`. A first client opens each room, by one of the proxies; then somebody comes to each
room by each proxy. The exit status is 0 if they all met, each room ran on one pod, and no pod passed any of them on.
First clients may be: where a new room goes is for the pods to say, and two of them may see their loads otherwise.

With --rounds the pods of a further round are awaited as a line on stdin after each, while the proxies stay; the end of
stdin is the end of all. tests/fleet/proxies.rs tells this story with pods that come and go.
"""

import argparse
import asyncio
import contextlib
import json
import os
import queue
import re
import sys
import tempfile
import threading
import urllib.request

import proxies
import websockets

# At once: more would measure the machine.
AT_ONCE = 50


def ask(admin, path):
    with urllib.request.urlopen(f"http://{admin}{path}", timeout=proxies.DEADLINE) as answer:
        return answer.read().decode()


def figures(pods):
    """Clients that pods ever passed to other pods, and those who are on their way through one now."""
    passed, transit = 0.0, 0.0
    for _, admin in pods:
        metrics = ask(admin, "/metrics")
        passed += sum(map(float, re.findall(r"(?m)^scalesocket_proxied_total\{.*\} (\S+)$", metrics)))
        (gauge,) = re.findall(r"(?m)^scalesocket_transit_connections(?:\{.*\})? (\S+)$", metrics)
        transit += float(gauge)
    return passed, transit


def clients(pods):
    """For each room that lives, its clients by pod."""
    held = {}
    for public, admin in pods:
        for room in json.loads(ask(admin, "/stats?limit=1000"))["rooms"]:
            held.setdefault(room["name"], {})[public] = room["connections"]
    return held


def resolved(admin, room):
    return json.loads(ask(admin, f"/resolve/{room}"))["endpoint"]


async def each(what, coroutine):
    """The results for all of them, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item):
        async with gate, asyncio.timeout(proxies.DEADLINE):
            return await coroutine(item)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(item)) for item in what]
    return [task.result() for task in tasks]


async def join(listener, room):
    return await websockets.unix_connect(str(listener), f"ws://rooms/{room}")


async def says(client, others, word):
    """What everybody in a room hears of it, which is the same."""
    await client.send(word)
    heard = set()
    for other in (client, *others):
        while True:
            line = await other.recv()
            if line.split()[-1] == word:
                heard.add(line)
                break
    assert len(heard) == 1, f"not in one room: {heard}"


async def until(look):
    """Looks again until there is something to see."""
    async with asyncio.timeout(proxies.DEADLINE):
        while not (seen := await asyncio.to_thread(look)):
            await asyncio.sleep(0.02)
    return seen


async def round_of(number, listeners, rooms, pods):
    """Gives how many first clients were passed on."""
    names = [f"round-{number}-{room}" for room in range(rooms)]
    doors = list(listeners.values())
    asked = pods[0][1]
    before, _ = figures(pods)

    async def opened(index):
        client = await join(doors[index % len(doors)], names[index])
        await says(client, (), "first")
        return [client]

    everybody = await each(range(rooms), opened)
    held = clients(pods)
    assert all(list(held[name].values()) == [1] for name in names), held
    owners = [next(iter(held[name])) for name in names]
    after, _ = figures(pods)

    async def known(index):
        await until(lambda: resolved(asked, names[index]) == owners[index])

    await each(range(rooms), known)
    for proxy, listener in listeners.items():

        async def came(index, proxy=proxy, listener=listener):
            client = await join(listener, names[index])
            await says(client, everybody[index], proxy)
            everybody[index].append(client)

        await each(range(rooms), came)
        passed, _ = figures(pods)
        assert passed == after, f"{proxy}: {passed - after:.0f} clients were passed on by a pod"

    async def left(index):
        await everybody[index].pop(0).close()

    await each(range(rooms), left)
    await until(lambda: figures(pods)[1] == 0)
    held = clients(pods)
    there = [held[name] == {owner: len(listeners)} for name, owner in zip(names, owners, strict=True)]
    assert all(there), held

    async def gone(index):
        for client in everybody[index]:
            await client.close()

    await each(range(rooms), gone)
    return after - before


def lines(into):
    """Rounds as they are asked for; when nobody asks any more, whatever goes on is in vain."""
    busy = threading.Event()

    def read():
        for line in sys.stdin:
            into.put(line.split())
        if busy.is_set():
            os._exit(1)  # proxies end with us
        into.put(None)

    threading.Thread(target=read, daemon=True).start()
    return busy


def pod(text):
    return tuple(text.split(","))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--proxy", action="append", choices=proxies.PROXIES)
    parser.add_argument("--rooms", type=int, default=500)
    parser.add_argument("--rounds", action="store_true")
    parser.add_argument("pods", nargs="+", type=pod)
    options = parser.parse_args()
    asked = queue.Queue()
    busy = threading.Event()
    busy.set()
    if options.rounds:
        busy = lines(asked)
        busy.set()
    with contextlib.ExitStack() as stack:
        listeners = {}
        public, admin = options.pods[0]
        for proxy in options.proxy or proxies.PROXIES:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            listeners[proxy] = stack.enter_context(proxies.running(proxy, directory, public, admin))
        pods, number = options.pods, 1
        while pods:
            hops = asyncio.run(round_of(number, listeners, options.rooms, pods))
            what = f"{', '.join(listeners)}: {options.rooms} rooms, each reached at its owner"
            print(f"{what}; {hops:.0f} were opened by way of another pod", flush=True)
            if not options.rounds:
                break
            busy.clear()
            words = asked.get()
            busy.set()
            pods, number = [pod(word) for word in words or []], number + 1


if __name__ == "__main__":
    main()

"""Real proxies in front of the pods of a running fleet: every room is reached at its owner, without a second hop.

    python3 tests/chart/live_proxies.py [--proxy nginx]... [--rooms 500] PUBLIC,ADMIN PUBLIC,ADMIN PUBLIC,ADMIN

PUBLIC and ADMIN are the addresses (ip:port) of a pod's listeners; its program must say to everybody what it hears,
like `cat`. The exit status is 0 if two clients of each room met, each room ran on one pod, and no pod passed
a client on. SCALESOCKET_PODS, with the same words, makes the checks of the chart do this too.
"""

import argparse
import asyncio
import json
import re
import tempfile
import urllib.request

import proxies
import websockets

# At once: more would measure the machine.
AT_ONCE = 50


def ask(admin, path):
    with urllib.request.urlopen(f"http://{admin}{path}", timeout=proxies.DEADLINE) as answer:
        return answer.read().decode()


def passed_on(pods):
    """Clients that pods ever passed to other pods."""
    total = 0.0
    for _, admin in pods:
        for value in re.findall(r"(?m)^scalesocket_proxied_total\{.*\} (\S+)$", ask(admin, "/metrics")):
            total += float(value)
    return total


def holds(admin, room):
    try:
        return json.loads(ask(admin, f"/{room}/stats"))["connections"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return 0
        raise


async def meet(listener, room, pods, gate):
    async with gate:
        url = f"ws://rooms/{room}"
        async with websockets.unix_connect(str(listener), url) as ann:
            async with websockets.unix_connect(str(listener), url) as bob:
                await ann.send(room)
                async with asyncio.timeout(proxies.DEADLINE):
                    heard = [await ann.recv(), await bob.recv()]
                assert heard == [room, room], f"{room}: {heard}"
                held = [await asyncio.to_thread(holds, admin, room) for _, admin in pods]
                assert sorted(held)[-2:] == [0, 2] or sorted(held) == [2], f"{room}: clients by pod {held}"


async def everybody(listener, proxy, rooms, pods):
    gate = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for number in range(rooms):
            group.create_task(meet(listener, f"{proxy}-{number}", pods, gate))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--proxy", action="append", choices=proxies.PROXIES)
    parser.add_argument("--rooms", type=int, default=500)
    parser.add_argument("pods", nargs="+", type=lambda text: tuple(text.split(",")))
    options = parser.parse_args()
    for proxy in options.proxy or proxies.PROXIES:
        before = passed_on(options.pods)
        public, admin = options.pods[0]
        with tempfile.TemporaryDirectory() as directory:
            with proxies.running(proxy, directory, public, admin) as listener:
                asyncio.run(everybody(listener, proxy, options.rooms, options.pods))
        hops = passed_on(options.pods) - before
        assert hops == 0, f"{proxy}: {hops:.0f} clients were passed on by a pod"
        print(f"{proxy}: {options.rooms} rooms, each reached at its owner")


if __name__ == "__main__":
    main()

"""Two servers that are the pods of one fleet, on a real API server: what only pods that know each other can tell."""

import asyncio
import contextlib
import json
import pathlib
import tempfile
import time

import websockets
from server import DEADLINE, identified, serving

NAMESPACE, FLEET = "fleet", "demo"
# There is no kubelet: what it would tell is told here.
RUNNING = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}


def pod(cluster, name):
    """Makes the object; gives its uid."""
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"scalesocket.dev/fleet": FLEET}}
    spec = {"containers": [{"name": "scalesocket", "image": "scalesocket"}], "nodeName": "here"}
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    cluster.run("kubectl", "create", "-f", "-", input=json.dumps(made))
    status = json.dumps({"status": RUNNING})
    on = ("kubectl", "-n", NAMESPACE)
    cluster.run(*on, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", status)
    return cluster.run(*on, "get", "pod", name, "-o", "jsonpath={.metadata.uid}")


@contextlib.contextmanager
def member(binary, cluster, directory, name):
    identity = {"POD_NAME": name, "POD_NAMESPACE": NAMESPACE, "POD_UID": pod(cluster, name), "POD_IP": "127.0.0.1"}
    flags, env = identified(directory, cluster.admin.read_text(), identity)
    with serving(binary, "--kube", f"--kube-fleet={FLEET}", *flags, "cat", env=env) as server:
        yield server


def until(look):
    end = time.monotonic() + DEADLINE
    while not (seen := look()):
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)
    return seen


async def led(server):
    """Somebody comes to rooms by one pod until each of the two has one; what that pod tells then."""
    async with contextlib.AsyncExitStack() as rooms:
        for number in range(100):
            url = f"ws://{server.addresses['public']}/room-{number}"
            client = await rooms.enter_async_context(websockets.connect(url))
            await client.send("hello")
            await client.recv()
            metrics = await asyncio.to_thread(server.get, "/metrics")
            if all(f"scalesocket_{name}_total{{" in metrics for name in ("proxied", "claims")):
                return metrics, json.loads(await asyncio.to_thread(server.get, "/stats"))
    raise AssertionError("all of a hundred rooms were on one of two pods")


def told(binary, cluster):
    """What /metrics and /stats of a pod say that has rooms, and a client on the way to another pod."""
    cluster.run("kubectl", "create", "namespace", NAMESPACE)
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [stack.enter_context(member(binary, cluster, directory / name, name)) for name in ("one", "two")]
        for server in servers:
            until(lambda server=server: json.loads(server.get("/stats"))["scaling"]["pods_ready"] == 2)
        return asyncio.run(led(servers[0]))

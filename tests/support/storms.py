"""A cluster of processes over links that can fail, and the making of faults: of the network, processes and disks."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support import processes
from tests.support.links import ANSWERS, BOTH, REQUESTS, Link, link
from tests.support.processes import ServerProcess
from tests.support.schedules import DISKS, NETWORK, PROCESSES, Fault
from tests.support.waiting import PATIENCE_S

__all__ = ["Network", "networked", "storm"]


class Network:
    """Servers by name, and the links to them: of clients to the proxies, and of the proxies to the nodes.

    `urls` are the proxies', `direct` one without a link.
    """

    def __init__(self, servers: Mapping[str, ServerProcess], links: Mapping[str, Link], urls: Sequence[str]) -> None:
        self.servers = servers
        self.links = links
        self.urls = urls

    @property
    def direct(self) -> str:
        """A proxy's URL for clients that no fault of the network concerns."""
        return self.servers["proxy-1"].url

    def targets(self, *kinds: Sequence[str]) -> dict[str, Sequence[str]]:
        """What may happen to what, of these kinds of faults: NETWORK, PROCESSES, DISKS."""
        nodes = [name for name in self.servers if name.startswith("shard")]
        targets = {
            NETWORK: [f"the way to {name}" for name in self.links],
            PROCESSES: list(self.servers),
            DISKS: [f"the disk of {name}" for name in nodes],
        }
        return {target: kind for kind in kinds for target in targets[kind]}


@asynccontextmanager
async def networked(directory: Path) -> AsyncIterator[Network]:
    """Three nodes that keep changes and two proxies, all behind links."""
    async with AsyncExitStack() as stack:
        links: dict[str, Link] = {}

        async def linked(name: str, url: str) -> str:
            through, links[name] = await stack.enter_async_context(link(urlsplit(url).port or 0))
            return through

        loop = asyncio.get_running_loop()

        def route(name: str, url: str) -> str:
            return asyncio.run_coroutine_threadsafe(linked(name, url), loop).result(PATIENCE_S)

        starting = processes.cluster(directory, proxies=2, changes=True, route=route)
        cluster = await asyncio.to_thread(starting.__enter__)
        stack.push_async_callback(asyncio.to_thread, starting.__exit__, None, None, None)
        proxies = {f"proxy-{number}": proxy for number, proxy in enumerate(cluster.proxies, 1)}
        urls = [await linked(name, proxy.url) for name, proxy in proxies.items()]
        yield Network({**cluster.nodes, **proxies}, links, urls)


async def storm(network: Network, faults: Sequence[Fault], answered: Callable[[], int]) -> None:
    """Make the faults one after the other; at the end all is well. `answered` is how many calls were answered.

    Every fault waits for calls that are answered, so none leaves the cluster unable to answer.
    """
    for together in _joined(faults):
        wanted = answered() + together[0].after_calls
        async with asyncio.timeout(PATIENCE_S):
            while answered() < wanted:
                await asyncio.sleep(0.01)
        await asyncio.gather(*(_make(network, fault) for fault in together))


def _joined(faults: Sequence[Fault]) -> Iterator[list[Fault]]:
    """The faults in groups that happen together."""
    together: list[Fault] = []
    for fault in faults:
        if together and not fault.joined:
            yield together
            together = []
        together.append(fault)
    if together:
        yield together


async def _make(network: Network, fault: Fault) -> None:
    name = fault.target.rpartition(" ")[2]
    if fault.kind in NETWORK:
        broken = network.links[name]
        _break(broken, fault)
        await asyncio.sleep(fault.lasts_s)
        broken.heal()
    elif fault.kind in DISKS:
        with _limited(network.servers[name], fault.kind):
            await asyncio.sleep(fault.lasts_s)
    elif fault.kind == "suspend":
        with network.servers[name].paused():
            await asyncio.sleep(fault.lasts_s)
    else:
        await asyncio.shield(asyncio.to_thread(_end, network.servers[name], fault.kind))
        await asyncio.sleep(fault.lasts_s)
        await asyncio.shield(asyncio.to_thread(network.servers[name].start))


def _break(broken: Link, fault: Fault) -> None:
    match fault.kind:
        case "delay":
            broken.delay(fault.amount)
        case "throttle":
            broken.throttle(int(fault.amount))
        case "cut":
            broken.cut()
        case "black hole":
            broken.black_hole(BOTH)
        case "lost requests":
            broken.black_hole(REQUESTS)
        case "lost answers":
            broken.black_hole(ANSWERS)
        case "half-open":
            broken.half_open()


def _end(server: ServerProcess, kind: str) -> None:
    if kind == "kill":
        server.kill()
        return
    server.terminate()
    if kind == "kill in the drain":
        server.kill()
        return
    if kind == "stop twice":
        server.terminate()
    server.stop()


@contextmanager
def _limited(server: ServerProcess, kind: str) -> Iterator[None]:
    """Let the node's files grow no further, or nothing be written to them, as on a full or a read-only disk."""
    most = 0 if kind == "unwritable" else server.data_bytes
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))

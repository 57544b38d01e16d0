"""Both ends of a WebSocket: python3 with_websockets.py serve | SCENARIO ws://HOST:PORT."""

import asyncio
import http.client
import os
import sys
from urllib.parse import urlsplit

import websockets

LARGE = 2 * 1024 * 1024


async def echo(socket):
    """Sends every message back, and pings or closes when the client asks for it."""
    try:
        async for message in socket:
            if message == "ping me":
                await (await socket.ping(b"from the backend"))
                message = "ponged"
            elif message == "close me":
                await socket.close(4001, "as you wish")
                break
            await socket.send(message)
    finally:
        print(f"closed with {socket.close_code} {socket.close_reason}", flush=True)


async def serve():
    server = await websockets.serve(echo, "127.0.0.1", 0, max_size=LARGE)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


def connect(url):
    return websockets.connect(url, max_size=LARGE)


async def messages(url):
    """Text, binary, empty and large messages come back unchanged."""
    async with connect(url) as socket:
        for message in "hello", "\u00fc\u4e16\U0001f600", b"\0\r\n\r\n\xff", "", b"", os.urandom(1 << 20), "x" * (1 << 20):
            await socket.send(message)
            assert await socket.recv() == message


async def pings(url):
    """The other end answers a ping, whichever end sends it."""
    async with connect(url) as socket:
        await (await socket.ping(b"from the client"))
        await socket.send("ping me")
        assert await socket.recv() == "ponged"


async def close_codes(url):
    """Code and reason of a close arrive at the other end, whichever end closes."""
    async with connect(url) as socket:
        await socket.send("close me")
        try:
            await socket.recv()
            raise AssertionError("a message instead of a close")
        except websockets.ConnectionClosed:
            assert (socket.close_code, socket.close_reason) == (4001, "as you wish")
    async with connect(url) as socket:
        await socket.close(4002, "enough")  # the test looks for it in the output of the server


async def many(url):
    """Fifty tunnels at once, each used in every turn, and an ordinary request beside them."""
    sockets = await asyncio.gather(*(connect(url) for _ in range(50)))
    for turn in range(5):
        for number, socket in enumerate(sockets):
            await socket.send(f"{turn} {number}")
        answers = await asyncio.gather(*(socket.recv() for socket in sockets))
        assert answers == [f"{turn} {number}" for number in range(50)], answers
    kind = http.client.HTTPSConnection if url.startswith("wss:") else http.client.HTTPConnection
    connection = kind(urlsplit(url).netloc, timeout=20)
    status = await asyncio.to_thread(lambda: connection.request("GET", "/") or connection.getresponse().status)
    assert status == 426, f"{status} instead of 426, the websockets server's status for a request without an upgrade"
    await asyncio.gather(*(socket.close() for socket in sockets))


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))

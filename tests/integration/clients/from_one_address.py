"""Connects to ronde from an address that is no loopback one, 192.0.2.1, and from one that is.

It runs in a network namespace of its own, where 192.0.2.1 is an address of the loopback interface. Prints which statuses
the connections got, in the order in which they were made; there is no backend, so 502 is that of a client that was let in.
"""

import socket
import subprocess
import sys
import time

MOST = 5
RONDE = subprocess.Popen(
    [sys.argv[1], "--listen", "192.0.2.1:8080", "--listen", "127.0.0.1:8080", "--max-per-client", str(MOST), "127.0.0.1:1"],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
)
while b"listening on" not in RONDE.stderr.readline():
    pass


def connect(address):
    return socket.create_connection((address, 8080), timeout=10, source_address=(address, 0))


def status(connection):
    try:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    except OSError:
        pass  # A refused one is closed without waiting for its request.
    return connection.recv(65536).split(b" ")[1].decode()


def statuses(connections):
    return " ".join(status(connection) for connection in connections)


# All are accepted, in this order, before the first one asks.
strangers = [connect("192.0.2.1") for _ in range(MOST + 3)]
print("stranger", statuses(strangers))
print("loopback", statuses([connect("127.0.0.1") for _ in range(MOST + 3)]))
strangers[0].close()
deadline = time.monotonic() + 10
while (last := status(connect("192.0.2.1"))) == "429" and time.monotonic() < deadline:
    time.sleep(0.005)
print("after one has ended", last)
RONDE.kill()

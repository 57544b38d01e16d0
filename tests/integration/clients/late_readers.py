"""Clients that ask, and read only when all of them may: python3 late_readers.py PORT GATE COUNT LENGTH

When all have asked, this connects to the port GATE, and waits until that connection is closed. Each client must then get
LENGTH bytes, each of them the last digit of the client's number. Their segments and buffers are small, so that the
kernel does not hold megabytes for each of them.
"""

import socket
import sys

PORT, GATE, COUNT, LENGTH = (int(argument) for argument in sys.argv[1:])


def ask(number):
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", PORT))
    client.sendall(b"GET /unread/%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % number)
    return client


def read(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    client.settimeout(20)
    parts = []
    while part := client.recv(1 << 18):
        parts.append(part)
    return b"".join(parts).split(b"\r\n\r\n", 1)[1]


clients = [ask(number) for number in range(COUNT)]
socket.create_connection(("127.0.0.1", GATE)).recv(1)
for number, client in enumerate(clients):
    body = read(client)
    assert body == b"%d" % (number % 10) * LENGTH, (number, len(body), body[-10:])
print("all have read", flush=True)

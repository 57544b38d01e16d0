"""A backend at the end of a narrow path: small segments and a small buffer.

It begins to answer a request for /early or /echo before it has read all of the request's head: /early with the whole
answer, /echo with the head of it, and the request's body follows as it comes. Everything else is answered with its
target when it has been read.
"""

import socket
import sys
import threading
import time

LISTENER = socket.socket()
LISTENER.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
LISTENER.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
LISTENER.bind(("127.0.0.1", 0))
LISTENER.listen(64)


class Stream:
    """What a connection brings, and ends its thread when it ends."""

    def __init__(self, connection):
        self.connection, self.unread = connection, b""

    def fill(self, most):
        part = self.connection.recv(most)
        if not part:
            sys.exit()
        self.unread += part

    def through(self, end):
        while end not in self.unread:
            self.fill(65536)
        found, self.unread = self.unread.split(end, 1)
        return found

    def take(self, count):
        while len(self.unread) < count:
            self.fill(65536)
        taken, self.unread = self.unread[:count], self.unread[count:]
        return taken


def head(length):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


def converse(connection):
    stream = Stream(connection)
    while True:
        while stream.unread.count(b" ") < 2:
            stream.fill(100)
        target = stream.unread.split(b" ")[1].decode()
        if target == "/early":
            connection.sendall(head(5) + b"early")
        elif target.startswith("/echo/"):
            connection.sendall(head(int(target[6:])))
        if target.startswith("/e"):
            # Meanwhile everything on the way fills up.
            time.sleep(0.2)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        fields = stream.through(b"\r\n\r\n").lower().split(b"\r\n")
        lengths = [int(field[15:]) for field in fields if field.startswith(b"content-length:")]
        body = stream.take(sum(lengths))
        if target.startswith("/echo/"):
            connection.sendall(body)
        elif target != "/early":
            connection.sendall(head(len(target)) + target.encode())


print("listening on 127.0.0.1:%d" % LISTENER.getsockname()[1], flush=True)
while True:
    threading.Thread(target=converse, args=(LISTENER.accept()[0],), daemon=True).start()

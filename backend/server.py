#!/usr/bin/env python3
"""A backend for ronde's demo: a web server that says which one it is.

    $ python3 server.py 1            # or: BACKEND_NUMBER=1 python3 server.py
    $ curl http://localhost:8000
    Backend Python 1

Any path answers, so whatever you ask the proxy for, you see whose turn it was. A program gets one
line of text; a browser, which says `Accept: text/html`, gets a small page that says the same.

It needs Python and nothing else. It is not a framework's "hello world", because a good backend
behind a proxy keeps a few habits that tutorials leave out, and here each can be seen by itself:

- it keeps connections open (HTTP/1.1), so that the proxy need not open a new one per request;
- it sends its answers without delay (see `disable_nagle_algorithm`);
- it reads every request to its end, also a body that it has no use for;
- it ends when it is told to (see `main`);
- it has a path of its own, `/health`, where others can ask whether it is well.
"""

import argparse
import html
import http.client
import os
import signal
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Backend Python {number}</title>
<!-- An empty icon of our own. Without this line a browser asks for /favicon.ico after every page,
     and that request would take the other backend's turn: you would see the same one for ever. -->
<link rel="icon" href="data:,">
<style>
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; color: #fff;
         font: 1.1rem/1.6 system-ui, sans-serif; text-align: center;
         background: linear-gradient(135deg, hsl({hue} 70% 38%), hsl({hue} 75% 20%)); }}
  b {{ display: block; font-size: clamp(8rem, 40vmin, 22rem); line-height: 1; }}
  h1 {{ margin: 0; font-size: 1.8rem; font-weight: 600; }}
  p {{ margin: .3rem; }}
  code {{ background: #0004; border-radius: .3em; padding: .1em .4em; }}
</style>
<main>
  <h1>Backend Python <b>{number}</b></h1>
  <p>Host <code>{host}</code> answered <code>{client}</code>.</p>
  <p>Reload, and it is the next one's turn.</p>
</main>
"""


class Handler(BaseHTTPRequestHandler):
    """One connection: the server makes one of these for each, on a thread of its own."""

    # With HTTP/1.1 a connection stays open after an answer, ready for the next request. Every
    # answer must then say where it ends (`Content-Length`), or the other side would wait for more.
    protocol_version = "HTTP/1.1"

    # The system likes to hold a small packet back until the one before it was acknowledged
    # (Nagle's algorithm), and the other side likes to delay acknowledgements: together that makes
    # about 40 ms of silence for every request on a kept connection. This sets TCP_NODELAY.
    disable_nagle_algorithm = True

    # Collect what is written and send it as one packet: head and body arrive together, and an
    # answer is never half sent when the server is told to end.
    wbufsize = -1

    # Close a connection that was silent for so many seconds. A backend should wait longer than
    # the proxy does (ronde: less than 5), or it may close just when the next request is coming.
    timeout = 60

    def answer(self):
        """Answer any request with this backend's number."""
        try:
            self.discard_body()
        except ValueError:
            # Where the body ends is unclear, and so is where the next request begins. `send_error`
            # also closes the connection.
            self.send_error(HTTPStatus.BAD_REQUEST, "cannot tell where the request body ends")
            return

        number, host = self.server.number, self.server.host
        if self.path == "/health":
            kind, text = "text/plain", "ok\n"
        elif "text/html" in self.headers.get("Accept", ""):
            kind, text = "text/html", PAGE.format(
                number=number,
                hue=(number * 137 + 60) % 360,  # the golden angle: neighbours differ most
                host=html.escape(host),
                client=html.escape(self.client()),
            )
        else:
            kind, text = "text/plain", f"Backend Python {number}\n"
        body = text.encode()

        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")  # a reload must ask again
        self.send_header("Vary", "Accept")
        self.send_header("X-Served-By", host)  # tells three copies of backend 2 apart
        self.end_headers()
        if self.command != "HEAD":  # HEAD: the same head, no body
            self.wfile.write(body)

    # The server looks for a method named after the request's: `do_GET` for GET, and so on.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def discard_body(self):
        """Read the request's body to its end: behind it the next request begins."""
        # `Expect: 100-continue`: the client waits for our interim answer before it sends a body.
        self.wfile.flush()

        coding = self.headers.get("Transfer-Encoding")
        if coding is None:
            self.discard(int(self.headers.get("Content-Length", 0)))
            return
        if coding.strip().lower() != "chunked":
            raise ValueError(f"unknown transfer coding {coding!r}")
        # Chunked: every chunk comes after a line with its size in hexadecimal; size 0 is the last.
        while size := int(self.rfile.readline(1024).split(b";")[0], 16):
            self.discard(size)
            self.rfile.readline(1024)
        # After the last chunk there may be more fields, up to an empty line.
        while self.rfile.readline(65536).strip():
            pass

    def discard(self, length):
        """Read so many bytes, piece by piece: a large upload never lies in memory whole."""
        if length < 0:
            raise ValueError("a length below zero")
        while length > 0:
            piece = self.rfile.read(min(length, 65536))
            if not piece:
                raise ConnectionError("the connection ended within a request body")
            length -= len(piece)

    def client(self):
        """Who asked. The connection comes from the proxy; it says in this field for whom."""
        return self.headers.get("X-Forwarded-For", self.client_address[0])

    def log_request(self, code="-", size="-"):
        """Write one line for every request, but not for the health checks: they come for ever."""
        if not self.requestline.startswith("GET /health "):
            client = self.client() if hasattr(self, "headers") else self.client_address[0]
            self.log_message('"%s" %s for %s', self.requestline, int(code), client)

    def log_message(self, format, *args):
        """Write a line that names this backend; `ascii` makes control characters harmless."""
        line = ascii(format % args)[1:-1]
        print(f"Backend Python {self.server.number}: {line}", flush=True)

    def handle(self):
        """Serve the connection's requests until one side closes it."""
        try:
            super().handle()
        except ConnectionError:
            pass  # The other side is gone: nobody is left to answer, and nothing is wrong here.


class Backend(ThreadingHTTPServer):
    """The server: accepts connections and starts a thread for each."""

    # Threads that do not keep the program alive: the end need not wait for idle connections.
    daemon_threads = True

    # Connections that may wait to be accepted. The library's own choice is 5: too few for a rush.
    request_queue_size = 1024

    def __init__(self, port, number):
        self.number = number
        self.host = socket.gethostname()  # in a container: the beginning of its id
        super().__init__(("", port), Handler)  # "": every address of this machine


def healthy(port):
    """Ask the server that runs here whether it is well. The container's health check calls this."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from port {port}: {error}")
        return False


def stop(signum, frame):
    """End the program at once, whatever its threads are doing.

    Not with `sys.exit`: that first tidies up, and stumbles over threads that are still at work.
    Nothing here needs tidying, and an answer is one packet: it has left whole, or not at all, and
    then the proxy asks the next backend.
    """
    os._exit(0)


def main():
    parser = argparse.ArgumentParser(description="The backend of ronde's demo.")
    parser.add_argument(
        "number", nargs="?", type=int, default=os.environ.get("BACKEND_NUMBER", "1"),
        help="which backend this is (else from BACKEND_NUMBER, else 1)",
    )
    parser.add_argument(
        "--port", type=int, default=os.environ.get("PORT", "8000"),
        help="where to listen (else from PORT, else 8000)",
    )
    parser.add_argument(
        "--health", action="store_true", help="ask the server that runs on this port, exit 0 or 1"
    )
    options = parser.parse_args()

    if options.health:
        sys.exit(0 if healthy(options.port) else 1)

    # `docker stop` sends SIGTERM. Most programs end at it without doing anything for that, but the
    # first process of a container has no such default: without this line Docker would wait for
    # ten seconds and then kill it. SIGINT is Ctrl-C.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    with Backend(options.port, options.number) as server:
        print(f"Backend Python {options.number} listens on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

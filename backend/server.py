#!/usr/bin/env python3
"""A backend for the demo of ronde: a web server that answers with its own number.

    $ python3 server.py 1            # or: BACKEND_NUMBER=1 python3 server.py
    $ curl http://localhost:8000
    Backend Python 1

Every path gives the same answer, so any request through the proxy shows whose turn it was. A
program gets one line of text; a browser, which sends `Accept: text/html`, gets a small page.

It needs only Python. It is not the "hello world" of a framework, because a good backend behind a
proxy has a few habits that tutorials leave out, and here you can see each of them:

- it keeps connections open (HTTP/1.1), so that the proxy need not open a new one for each request;
- it sends its responses without delay (see `disable_nagle_algorithm`);
- it reads every request to its end, including a body that it does not use;
- it ends when it receives SIGTERM (see `main`);
- it has a path `/health` for health checks.
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
<!-- An empty icon. Without this line a browser requests /favicon.ico after every page. That request
     would take the turn of the other backend, and you would see the same backend for ever. -->
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
  <p>Reload, and it is the next backend's turn.</p>
</main>
"""


class Handler(BaseHTTPRequestHandler):
    """One connection. The server creates a handler for each, on a thread of its own."""

    # With HTTP/1.1 a connection stays open after a response, ready for the next request. So every
    # response must declare its length (`Content-Length`), or the client would wait for more.
    protocol_version = "HTTP/1.1"

    # The kernel holds a small packet back until the one before it is acknowledged (Nagle's
    # algorithm), and the other side delays its acknowledgements. Together this costs about 40 ms
    # for every request on a kept connection. This sets TCP_NODELAY.
    disable_nagle_algorithm = True

    # Buffer the writes and send them as one packet: head and body arrive together, and a response
    # is never half sent when the server is stopped.
    wbufsize = -1

    # Close a connection after this many seconds of silence. A backend should wait longer than the
    # proxy (ronde: 4 seconds), or it may close just when the next request arrives.
    timeout = 60

    def answer(self):
        """Answer any request with the number of this backend."""
        try:
            self.discard_body()
        except ValueError:
            # Without a known end of the body, the start of the next request is unknown, too.
            # `send_error` also closes the connection.
            self.send_error(HTTPStatus.BAD_REQUEST, "cannot tell where the request body ends")
            return

        number, host = self.server.number, self.server.host
        if self.path == "/health":
            kind, text = "text/plain", "ok\n"
        elif "text/html" in self.headers.get("Accept", ""):
            kind, text = "text/html", PAGE.format(
                number=number,
                hue=(number * 137 + 60) % 360,  # golden angle: neighbours differ most
                host=html.escape(host),
                client=html.escape(self.client()),
            )
        else:
            kind, text = "text/plain", f"Backend Python {number}\n"
        body = text.encode()

        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")  # a reload must send a request
        self.send_header("Vary", "Accept")
        self.send_header("X-Served-By", host)  # tells three copies of backend 2 apart
        self.end_headers()
        if self.command != "HEAD":  # HEAD: the same head, no body
            self.wfile.write(body)

    # The server calls the method named after the request method: `do_GET` for GET, and so on.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def discard_body(self):
        """Read the request body to its end, where the next request begins."""
        # `Expect: 100-continue`: the client waits for our interim response before it sends a body.
        self.wfile.flush()

        coding = self.headers.get("Transfer-Encoding")
        if coding is None:
            self.discard(int(self.headers.get("Content-Length", 0)))
            return
        if coding.strip().lower() != "chunked":
            raise ValueError(f"unknown transfer coding {coding!r}")
        # Chunked: a line with the size in hexadecimal precedes every chunk; size 0 marks the last.
        while size := int(self.rfile.readline(1024).split(b";")[0], 16):
            self.discard(size)
            self.rfile.readline(1024)
        # Trailer fields may follow the last chunk, up to an empty line.
        while self.rfile.readline(65536).strip():
            pass

    def discard(self, length):
        """Read and drop `length` bytes in pieces, so that memory never holds a large upload."""
        if length < 0:
            raise ValueError("negative length")
        while length > 0:
            piece = self.rfile.read(min(length, 65536))
            if not piece:
                raise ConnectionError("the connection ended within a request body")
            length -= len(piece)

    def client(self):
        """The address of the client. The connection itself comes from the proxy."""
        return self.headers.get("X-Forwarded-For", self.client_address[0])

    def log_request(self, code="-", size="-"):
        """Log one line for each request, except for health checks, which never stop."""
        if not self.requestline.startswith("GET /health "):
            client = self.client() if hasattr(self, "headers") else self.client_address[0]
            self.log_message('"%s" %s for %s', self.requestline, int(code), client)

    def log_message(self, format, *args):
        """Log a line with the name of this backend. `ascii` escapes control characters."""
        line = ascii(format % args)[1:-1]
        print(f"Backend Python {self.server.number}: {line}", flush=True)

    def handle(self):
        """Serve the requests of the connection until one side closes it."""
        try:
            super().handle()
        except ConnectionError:
            pass  # The client is gone. That is no error of this server.


class Backend(ThreadingHTTPServer):
    """The server: accepts connections and starts a thread for each."""

    # Daemon threads do not keep the program alive: its end need not wait for idle connections.
    daemon_threads = True

    # The backlog: connections that may wait to be accepted. The default of 5 is too few for a rush.
    request_queue_size = 1024

    def __init__(self, port, number):
        self.number = number
        self.host = socket.gethostname()  # in a container: the first part of its id
        super().__init__(("", port), Handler)  # "": every address of this machine


def healthy(port):
    """Check the server on this machine. The health check of the container calls this."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from port {port}: {error}")
        return False


def stop(signum, frame):
    """End the program at once, whatever its threads are doing.

    Not with `sys.exit`, which cleans up first and fails while threads are still running. Nothing
    here needs cleaning up. A response is one packet: it has been sent entirely, or not at all. If
    not, the proxy sends the request to another backend, provided that it is safe to repeat.
    """
    os._exit(0)


def main():
    parser = argparse.ArgumentParser(description="The backend of the ronde demo.")
    parser.add_argument(
        "number", nargs="?", type=int, default=os.environ.get("BACKEND_NUMBER", "1"),
        help="the number of this backend (default: BACKEND_NUMBER, or 1)",
    )
    parser.add_argument(
        "--port", type=int, default=os.environ.get("PORT", "8000"),
        help="the port to listen on (default: PORT, or 8000)",
    )
    parser.add_argument(
        "--health", action="store_true", help="check the server on this port; exit with 0 or 1"
    )
    options = parser.parse_args()

    if options.health:
        sys.exit(0 if healthy(options.port) else 1)

    # `docker stop` sends SIGTERM. By default it ends a process, but not the first process of a
    # container: without these lines Docker would wait for ten seconds and then kill it. SIGINT is
    # Ctrl-C.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    with Backend(options.port, options.number) as server:
        print(f"Backend Python {options.number} listens on port {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

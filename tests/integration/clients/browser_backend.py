"""The backend of a page that opens a WebSocket and an EventSource: python3 browser_backend.py.

The page's load event waits for an image, and the image waits for the page's report. So a client that waits for the load
event, as Chromium's `--dump-dom` does, sees the results of the page.
"""

import base64
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"""<!doctype html>
<link rel=icon href=data:,>
<p id=socket>no message</p>
<p id=events>no events</p>
<img src=/held>
<script>
  const show = (id, text) => document.getElementById(id).textContent = text;
  const socket = new Promise(done => {
    const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/socket`);
    socket.onopen = () => socket.send("hello");
    socket.onmessage = message => { show("socket", `socket said ${message.data}`); socket.close(); };
    socket.onerror = () => show("socket", "socket failed");
    socket.onclose = done;
  });
  const events = new Promise(done => {
    const source = new EventSource("/events");
    const heard = [];
    source.onmessage = event => {
      heard.push(event.data);
      show("events", `events said ${heard.join(" ")}`);
      // The backend sends an event only after the page has reported that the previous one arrived.
      if (heard.length < 3) fetch(`/heard`); else { source.close(); done(); }
    };
    source.onerror = () => { show("events", "events failed"); source.close(); done(); };
  });
  Promise.all([socket, events]).then(() => fetch("/report"));
</script>
"""

heard = threading.Semaphore(1)
reported = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path == "/":
            self.answer("text/html", PAGE)
        elif self.path == "/heard":
            heard.release()
            self.answer("text/plain", b"")
        elif self.path == "/report":
            reported.set()
            self.answer("text/plain", b"")
        elif self.path == "/held":
            reported.wait(20)
            self.answer("image/gif", b"")
        elif self.path == "/events":
            self.events()
        elif self.path == "/socket":
            self.socket()
        else:
            self.send_error(404)

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(1, 4):
            heard.acquire()
            self.wfile.write(f"data: {number}\n\n".encode())

    def socket(self):
        """Sends one masked text frame of less than 126 bytes back without its mask, and then the client's close frame."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        for _ in range(2):
            kind, length = self.rfile.read(2)
            mask = self.rfile.read(4)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length & 127)))
            self.wfile.write(bytes([kind, len(text)]) + text)
        self.close_connection = True

    def log_message(self, *_):
        pass


with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()

"""An event stream as Python's http.client sees it: python3 with_http_client.py HOST:PORT.

Prints each event as soon as it arrives. The test sends the next one only after it has read the line.
"""

import http.client
import sys

connection = http.client.HTTPConnection(sys.argv[1], timeout=20)
connection.request("GET", "/events", headers={"Accept": "text/event-stream"})
answer = connection.getresponse()
assert answer.status == 200, answer.status
assert answer.headers["Content-Type"] == "text/event-stream", answer.headers
while line := answer.readline():
    if line != b"\n":
        print(line.decode().rstrip(), flush=True)
print("the stream is over", flush=True)

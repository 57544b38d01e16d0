"""Chromium as a person uses it, driven by the DevTools protocol: python3 with_chromium.py URL PROFILE_DIRECTORY.

Opens the page, reloads it, and prints the title each time. (`--dump-dom` would not do: it never requests an icon.)
"""

import asyncio
import itertools
import json
import subprocess
import sys

import websockets

# In containers Chromium often runs as root, which may not have a sandbox, and /dev/shm is small.
FLAGS = ["--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"]


async def look(devtools, url):
    numbers = itertools.count(1)
    async with websockets.connect(devtools, max_size=None) as socket:

        async def call(method, session=None, until=None, **params):
            """Calls a method and waits for its result, and for the event `until` if one is given."""
            number = next(numbers)
            call = {"id": number, "method": method, "params": params}
            await socket.send(json.dumps(call | ({"sessionId": session} if session else {})))
            result = None
            while result is None or until:
                message = json.loads(await asyncio.wait_for(socket.recv(), 20))
                if message.get("id") == number:
                    result = message["result"]
                elif message.get("method") == until:
                    until = None
            return result

        target = (await call("Target.createTarget", url="about:blank"))["targetId"]
        session = (await call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        await call("Page.enable", session)
        await call("Page.navigate", session, "Page.loadEventFired", url=url)
        for reload in range(6):
            if reload:
                await call("Page.reload", session, "Page.loadEventFired")
            title = await call("Runtime.evaluate", session, expression="document.title")
            print(title["result"]["value"], flush=True)
        await call("Browser.close")


url, profile = sys.argv[1:]
command = ["chromium", *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}"]
browser = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
try:
    ready = next(line for line in browser.stderr if line.startswith("DevTools listening on "))
    asyncio.run(look(ready.split()[-1], url))
    browser.wait(20)
finally:
    browser.kill()

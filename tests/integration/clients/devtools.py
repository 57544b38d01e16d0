"""A page in Chromium, driven by the DevTools protocol: what the scripts for single pages share."""

import asyncio
import itertools
import json
import subprocess

import websockets

# In containers Chromium often runs as root, which may not have a sandbox, and /dev/shm is small.
FLAGS = ["--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"]


class Page:
    """An empty page, before it goes anywhere."""

    def __init__(self, socket):
        self.socket = socket
        self.numbers = itertools.count(1)
        self.session = {}
        self.events = []

    async def call(self, method, until=None, **params):
        """Calls a method and waits for its result, and for the event `until` if one is given."""
        number = next(self.numbers)
        await self.socket.send(json.dumps({"id": number, "method": method, "params": params} | self.session))
        result = None
        while result is None or until:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), 20))
            self.events.append(message)
            if message.get("id") == number:
                result = message["result"]
            elif message.get("method") == until:
                until = None
        return result

    async def open(self):
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        attached = await self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        await self.call("Page.enable")

    async def go(self, url):
        await self.call("Page.navigate", "Page.loadEventFired", url=url)

    async def evaluate(self, expression):
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")


def run(profile, look):
    """Starts Chromium, and looks with it at an empty page."""

    async def session(devtools):
        async with websockets.connect(devtools, max_size=None) as socket:
            page = Page(socket)
            await page.open()
            await look(page)
            page.session = {}
            await page.call("Browser.close")

    # A test that fails kills its script, and the browser must not outlive that.
    command = ["setpriv", "--pdeathsig", "KILL", "chromium", *FLAGS]
    command += ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
    browser = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        ready = next(line for line in browser.stderr if line.startswith("DevTools listening on "))
        asyncio.run(session(ready.split()[-1]))
        browser.wait(20)
    finally:
        browser.kill()

"""The live page in Chromium: python3 with_live_page.py URL PROFILE_DIRECTORY EXPRESSION...

Opens the page and waits for each expression to become true, in this order, and prints it then. At the end it prints what
came on the console, except that a server was away; nothing, if all is well.
"""

import asyncio
import sys
import time

import devtools

url, profile, *expressions = sys.argv[1:]


async def look(page):
    for domain in "Runtime", "Log":
        await page.call(f"{domain}.enable")
    await page.go(url)
    for expression in expressions:
        deadline = time.monotonic() + 20
        while not await page.evaluate(expression):
            if time.monotonic() > deadline:
                print("not true:", expression, "\n", await page.evaluate("document.body.innerText"), flush=True)
                break
            await asyncio.sleep(0.1)
        else:
            print(expression, flush=True)
    for event in page.events:
        is_said = event.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        if is_said and event["params"].get("entry", {}).get("source") != "network":
            print("console:", event["params"], flush=True)


devtools.run(profile, look)

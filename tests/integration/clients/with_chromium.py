"""Chromium as a person uses it: python3 with_chromium.py URL PROFILE_DIRECTORY.

Opens the page, reloads it, and prints the title each time. (`--dump-dom` would not do: it never requests an icon.)
"""

import sys

import devtools

url, profile = sys.argv[1:]


async def look(page):
    await page.go(url)
    for reload in range(6):
        if reload:
            await page.call("Page.reload", "Page.loadEventFired")
        print(await page.evaluate("document.title"), flush=True)


devtools.run(profile, look)

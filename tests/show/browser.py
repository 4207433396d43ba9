"""A headless Chromium, driven over its own protocol: what a page does in a real browser."""

import asyncio
import os
import shutil
import subprocess
import time

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
    "--remote-debugging-port=0",
)
PATIENCE = 600.0  # seconds


def need_chromium():
    if CHROMIUM is None:
        # CI installs one; a machine without it is not to be told that the page is broken.
        assert not os.environ.get("CI"), "CI has no chromium"
        pytest.skip("no chromium")


class Browser:
    """One browser with one tab; `faults` and `asked` are what its page did since it was opened.

    Args:
        folder: for its profile.
    """

    def __init__(self, folder):
        self.faults, self.asked = [], []
        self._runner = asyncio.Runner()
        self._session = self._socket = self._tab = None
        self._number = 0
        self._folder = folder
        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self):
        try:
            self._runner.run(self._connect())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        async def close():
            if self._socket is not None:
                await self._socket.close()
            if self._session is not None:
                await self._session.close()

        self._runner.run(close())
        self._runner.close()
        self._process.terminate()
        self._process.wait()

    async def _connect(self):
        told = self._folder / "DevToolsActivePort"
        deadline = time.monotonic() + PATIENCE
        while not told.is_file() or told.read_text().count("\n") < 1:
            assert self._process.poll() is None, "chromium has ended"
            assert time.monotonic() < deadline, "chromium did not start"
            await asyncio.sleep(0.01)
        port, path = told.read_text().split()
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(
            f"ws://127.0.0.1:{port}{path}", max_msg_size=0
        )
        target = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._tab = attached["sessionId"]
        for room in ("Page", "Runtime", "Log", "Network"):
            await self._call(f"{room}.enable")

    async def _call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._tab is not None:
            message["sessionId"] = self._tab
        await self._socket.send_json(message)
        while (told := await self._socket.receive_json()).get("id") != message["id"]:
            self._note(told)
        assert "error" not in told, (method, told["error"])
        return told["result"]

    def _note(self, told):
        method, params = told.get("method"), told.get("params", {})
        if method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.faults.append(params)

    def call(self, method, **params):
        return self._runner.run(self._call(method, **params))

    def run(self, script):
        """Return what a script comes to, once its promise is kept."""
        told = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, condition):
        """Wait until an expression of the page holds."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"it did not happen: {condition[:200]}"
            time.sleep(0.005)

    def prefer(self, scheme, media=""):
        """Let the user's system be `light` or `dark`, and show the page on `print` or a screen."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def open(self, path, width=1280, height=900):
        """Open a page in light colours, and draw all its plots."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.prefer("light")
        self.faults.clear()
        self.asked.clear()
        self.call("Page.navigate", url=path.as_uri())
        self.until("document.readyState === 'complete'")
        self.run("dispatchEvent(new Event('beforeprint'))")
        self.until(
            "!document.querySelector('#request-table') || "
            "document.querySelector('#request-table tbody tr')"
        )

    def mouse(self, kind, x, y, **given):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **given)

    def drag(self, begin, end):
        """Press the mouse at one point, and let it go at another."""
        pressed = {"button": "left", "clickCount": 1}
        self.mouse("mouseMoved", *begin)
        self.mouse("mousePressed", *begin, **pressed)
        self.mouse("mouseMoved", *end, button="left", buttons=1)
        self.mouse("mouseReleased", *end, **pressed)

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

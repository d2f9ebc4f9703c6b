"""Drives a headless Chromium over the DevTools protocol: opens a page, runs script in it, takes pictures of it.

It talks through a pair of pipes: no port is opened, and no library is needed. Where there is no Chromium, tests skip.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Names under which it may be installed."""

PATIENCE = 60.0
"""Seconds after which a page that should have come to something is a failed test."""

_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Page:
    """A page in a browser, and all that it said and asked for."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self._loaded = False
        self.errors: list[str] = []
        """What the console had to complain of, and scripts that ended in an error."""
        self.requests: list[str] = []
        """URLs that were asked for, without the bytes of data: URLs."""

    def open(self, path: Path, *, size: tuple[int, int] = (1280, 900), dark: bool = False, fragment: str = "") -> None:
        """Load a file, at a place of it where a `fragment` is given, in a fresh tab and wait until its script has
        run; what earlier ones said is forgotten."""
        self._session = None
        self.errors.clear()
        self.requests.clear()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self.resize(size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call(
            "Emulation.setEmulatedMedia", features=[scheme, {"name": "prefers-reduced-motion", "value": "reduce"}]
        )
        self._load("Page.navigate", url=path.as_uri() + fragment)

    def reload(self) -> None:
        """Load the same page again and wait until its script has run."""
        self._load("Page.reload")

    def resize(self, size: tuple[int, int]) -> None:
        """Give the page another size; one as narrow as a telephone is one."""
        width, height = size
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def run(self, script: str) -> Any:
        """The value of an expression, once its promise is kept where it is one."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait, in the page, until an expression is true."""
        limit = int(PATIENCE * 1000)
        came = self.run(
            f"new Promise((done) => {{ const end = performance.now() + {limit}; const look = () => ({condition}) ? "
            "done(true) : performance.now() > end ? done(false) : setTimeout(look, 10); look(); })"
        )
        assert came, f"it never came to {condition}; {self.errors}"

    def click(self, selector: str) -> None:
        """A click of the mouse in the middle of an element, wherever it stands; what lies over it would get it."""
        x, y = self.run(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)}); "
            "it.scrollIntoView({block: 'center'}); const box = it.getBoundingClientRect(); "
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def hover(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """The mouse over a place in an element, given as shares of its width and height."""
        place = self.run(
            f"(() => {{ const it = document.querySelector({json.dumps(selector)}); "
            "it.scrollIntoView({block: 'center'}); const box = it.getBoundingClientRect(); "
            f"return [box.x + box.width * {x}, box.y + box.height * {y}]; }})()"
        )
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])

    def press(self, key: str) -> None:
        """A key, by its name or its letter."""
        codes = {"Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "Enter": 13}
        typed = {"windowsVirtualKeyCode": codes[key]} if key in codes else {"text": key}
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, **typed)

    def back(self) -> None:
        """One step back in the tab's history."""
        self.run("void history.back()")

    def write(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.run(f"(() => {{ const it = document.querySelector({json.dumps(selector)}); it.focus(); it.select(); }})()")
        self._call("Input.insertText", text=text)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of what is seen, or of the whole page."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _load(self, method: str, **parameters: Any) -> None:
        self._loaded = False
        self._call(method, **parameters)
        while not self._loaded:
            self._heard(self._next())
        self.until("document.documentElement.dataset.ready === 'yes'")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._send, data) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._heard(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._receive, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _heard(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        self._loaded |= event.get("method") == "Page.loadEventFired"
        heard: dict[str, Callable[[], object]] = {
            "Runtime.exceptionThrown": lambda: self.errors.append(json.dumps(told["exceptionDetails"])[:2000]),
            "Runtime.consoleAPICalled": lambda: (
                told["type"] in ("error", "warning", "assert") and self.errors.append(json.dumps(told["args"])[:2000])
            ),
            "Log.entryAdded": lambda: self.errors.append(f"{told['entry']['level']}: {told['entry']['text']}"),
            "Network.requestWillBeSent": lambda: self.requests.append(told["request"]["url"].partition(",")[0][:200]),
        }
        heard.get(event.get("method", ""), lambda: None)()


@contextmanager
def chromium() -> Iterator[Page]:
    """A browser of its own, with one page, for the length of a `with`; skips the test where there is no Chromium."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no Chromium here ({', '.join(PROGRAMS)}): apt-get install chromium")
    # Root has no sandbox of Chromium's; elsewhere it stays on.
    options = [*_OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    to_browser, from_us = os.pipe()
    from_browser, to_us = os.pipe()
    with tempfile.TemporaryDirectory(prefix="maskmill-chromium-", ignore_cleanup_errors=True) as profile:
        # The protocol's pipes are descriptors 3 and 4; which ones ours are is chance.
        command = f'exec "$@" 3<&{to_browser} 4>&{to_us}'
        process = subprocess.Popen(
            ["/bin/bash", "-c", command, "-", program, *options, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(to_browser, to_us),
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(to_us)
        try:
            yield Page(from_us, from_browser)
        finally:
            os.killpg(process.pid, 9)
            process.wait(PATIENCE)
            os.close(from_us)
            os.close(from_browser)

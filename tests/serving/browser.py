"""A headless Chromium, driven over its DevTools protocol through a pipe: no driver, no further package."""

import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One page of a browser; what it asked for and complained about is kept.

    Attributes:
        requests: addresses that were asked for.
        complaints: console errors, uncaught exceptions, failed loads.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._rest, self._number, self._session = b"", 0, None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Lay the page out at another size, in the light or the dark scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, address: str) -> None:
        """Open an address."""
        self.call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """Return what an expression comes to; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true of the page; return it."""
        look = f"const found = {script}; if (found) yes(found); else if (--left) setTimeout(look, 50)"
        return self.run(
            f"new Promise((yes, no) => {{ let left = 1200; const look = () => {{ {look};"
            " else no(new Error('never')) }; look() })"
        )

    def click(self, selector: str) -> None:
        """Click the middle of an element, as a mouse does."""
        place = f"document.querySelector({json.dumps(selector)})"
        x, y = self.run(
            f"(() => {{ {place}.scrollIntoView({{block: 'center'}});"
            f"const b = {place}.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key."""
        code, text = {"Enter": (13, "\r"), "Escape": (27, "")}.get(key, (0, ""))
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def text(self, selector: str = "body") -> str:
        """Return the text a person sees in an element."""
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def picture(self, path: Path) -> None:
        """Save the whole page as an image."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            got = os.read(self._read, 1 << 16)
            assert got, "Chromium ended"
            self._rest += got
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, told: dict[str, Any]) -> None:
        about = told.get("params", {})
        notes: dict[str, Callable[[], None]] = {
            "Network.requestWillBeSent": lambda: self.requests.append(about["request"]["url"]),
            "Network.loadingFailed": lambda: self.complaints.append(str(about)),
            "Runtime.exceptionThrown": lambda: self.complaints.append(str(about)),
            "Log.entryAdded": lambda: self.complaints.append(str(about["entry"])),
            "Runtime.consoleAPICalled": lambda: self.complaints.append(str(about["args"])),
        }
        notes.get(told.get("method", ""), lambda: None)()


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a fresh profile; it is stopped at the end."""
    (there, write), (read, back) = os.pipe(), os.pipe()
    # The protocol is spoken on descriptors 3 and 4; they are put in place through others, lest they be taken.
    shell = f'exec 8<&{there} 9>&{back}; exec "$0" "$@" 3<&8 4>&9'
    running = subprocess.Popen(
        ["bash", "-c", shell, CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(there, back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(there)
    os.close(back)
    try:
        yield Browser(write, read)
    finally:
        os.close(write)
        os.close(read)
        running.terminate()
        running.wait(60)

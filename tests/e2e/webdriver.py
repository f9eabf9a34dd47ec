# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium over WebDriver (W3C), with Python's standard library only."""
import base64, json, os, signal, subprocess, time, urllib.error, urllib.request

FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<dir>/usr/share/fonts/opentype/inter</dir><dir>/usr/share/fonts/truetype/dejavu</dir><cachedir>%s</cachedir>
<alias binding="same"><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias binding="same"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
<alias binding="same"><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
<match target="font"><edit name="antialias" mode="assign"><bool>true</bool></edit><edit name="hintstyle" mode="assign"><const>hintnone</const></edit>
<edit name="rgba" mode="assign"><const>none</const></edit></match></fontconfig>"""
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One Chromium with a home of its own that trusts @ca and finds @host at 127.0.0.1."""

    def __init__(self, home, ca, host):
        os.makedirs(home + "/.pki/nssdb", exist_ok=True)
        db = "sql:" + home + "/.pki/nssdb"
        subprocess.run(["certutil", "-N", "--empty-password", "-d", db], check=True)
        subprocess.run(["certutil", "-A", "-d", db, "-t", "C,,", "-n", "device CA", "-i", ca], check=True)
        with open(home + "/fonts.conf", "w") as out:
            out.write(FONTS % (home + "/fonts"))
        env = dict(os.environ, HOME=home, FONTCONFIG_FILE=home + "/fonts.conf", LANG="C.UTF-8", TZ="UTC")
        self.log = open(home + "/chromedriver.log", "w")
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], env=env, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                       start_new_session=True)
        self.base = None
        for line in self.driver.stdout:
            if "started successfully on port" in line:
                self.base = "http://127.0.0.1:" + line.rsplit(" ", 1)[1].strip().rstrip(".")
                break
        args = ["--headless=new", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1", "--lang=en-GB",
                "--font-render-hinting=none", "--disable-component-update", "--disable-background-networking", "--no-first-run",
                "--disable-dev-shm-usage", "--user-data-dir=" + home + "/profile", "--host-resolver-rules=MAP %s 127.0.0.1" % host]
        if os.getuid() == 0:
            args.append("--no-sandbox")  # Chromium refuses its own sandbox to root
        self.session = ""
        value = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "acceptInsecureCerts": False, "unhandledPromptBehavior": "ignore",
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": args},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}}})
        self.session = "/session/" + value["sessionId"]
        self.requests = []
        self.console = []

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + self.session + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as e:
            raise RuntimeError("%s %s: %s" % (method, path, json.load(e)["value"]["message"].split("\n")[0]))

    def cdp(self, command, **params):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def close(self):
        try:
            self.call("DELETE", "")
        finally:
            os.killpg(self.driver.pid, signal.SIGTERM)
            self.driver.wait()
            self.log.close()

    def go(self, url):
        self.call("POST", "/url", {"url": url})

    def js(self, script, *args):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def find(self, css):
        return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def find_all(self, css):
        return [e[ELEMENT] for e in self.call("POST", "/elements", {"using": "css selector", "value": css})]

    @staticmethod
    def steady(action):
        """What @action() returns; once more when the page drew anew what it had just found."""
        for _ in range(20):
            try:
                return action()
            except RuntimeError as e:
                if "stale element" not in str(e):
                    raise
        return action()

    def click(self, css):
        self.steady(lambda: self.call("POST", "/element/%s/click" % self.find(css), {}))

    def type(self, css, text):
        self.call("POST", "/element/%s/value" % self.find(css), {"text": text})

    def press(self, key):
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": [
            {"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]}]})

    def text(self, css):
        return self.js("return document.querySelector(arguments[0]).textContent.trim()", css)

    def is_shown(self, css):
        return self.js("const e = document.querySelector(arguments[0]); return !!e && e.getClientRects().length > 0", css)

    def wait(self, condition, seconds=20):
        """Until condition() is true; what it returned last."""
        end = time.monotonic() + seconds
        while True:
            got = condition()
            if got or time.monotonic() > end:
                return got
            time.sleep(0.05)

    def wait_shown(self, css, seconds=20):
        return self.wait(lambda: self.is_shown(css), seconds)

    def window(self, width, height, scheme="light"):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme},
                                                         {"name": "prefers-reduced-motion", "value": "reduce"}])

    def shot(self):
        return base64.b64decode(self.call("GET", "/screenshot"))

    def difference(self, one, other, threshold=40):
        """Share of pixels of two PNG files that differ by more than @threshold in a colour; 1.0 for other sizes. Leaves the page."""
        self.go("about:blank")
        return self.call("POST", "/execute/async", {"args": [base64.b64encode(data).decode() for data in (one, other)] + [threshold], "script": """
const [one, other, threshold, done] = arguments;
const pixels = async (text) => {
  const image = await createImageBitmap(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type: "image/png" }));
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
};
Promise.all([pixels(one), pixels(other)]).then(([a, b]) => {
  if (a.width !== b.width || a.height !== b.height) return done(1);
  let n = 0;
  for (let i = 0; i < a.data.length; i += 4)
    n += [0, 1, 2].some((c) => Math.abs(a.data[i + c] - b.data[i + c]) > threshold);
  done(n / (a.width * a.height));
});"""})

    def collect(self):
        """Console lines and requested addresses so far."""
        for entry in self.call("POST", "/se/log", {"type": "browser"}):
            self.console.append("%s %s" % (entry["level"], entry["message"]))
        for entry in self.call("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])

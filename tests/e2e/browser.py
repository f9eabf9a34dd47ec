# SPDX-License-Identifier: Apache-2.0
"""What a person does with the web page, in a real browser. Called by 32-browser.sh; prints "ok - ..." and "not ok - ..." lines.

browser.py LAB URL SECRET PASSWORD GOOD.swu BAD.swu SHOTS [--update-shots]
"""
import subprocess, sys
import page
from page import A11Y, DESKTOP, DIFFERENT, ENTER, ESCAPE, FOCUSABLE, FOCUSED, PHONE, TAB, check, compare, look, shot, shots, walk
from webdriver import Browser

LAB, URL, SECRET, PASSWORD, GOOD, BAD, SHOTS = sys.argv[1:8]
UPDATE_SHOTS = sys.argv[8:] == ["--update-shots"]
HOST = URL.split("/")[2].split(":")[0]


def compare_all(b):
    moved = shots.pop("moved")
    compare(b, SHOTS, LAB, UPDATE_SHOTS)
    with open("%s/first-boot-desktop.png" % SHOTS, "rb") as stored:
        share = b.difference(moved, stored.read())
    check("a changed layout is noticed (%.1f %% differs)" % (share * 100), share > DIFFERENT)


def first_boot(b):
    b.window(*DESKTOP)
    b.go(URL + "#c=WRONG-CODE-0000-0000&fp=" + "ab" * 32)
    check("first boot is offered", b.wait_shown("#code-form"))
    check("the QR code's part of the address is gone from it", b.js("return location.href") == URL and b.js("return history.length") <= 2)
    check("and its code is in the field", b.js("return document.getElementById('code').value") == "WRONG-CODE-0000-0000")
    check("the label's fingerprint is there to compare", "ABAB ABAB" in b.text("#label-fp"))
    b.click("#code-form [type=submit]")
    check("a wrong code is refused in plain words", b.wait_shown("#code-problem") and "not the code on the label" in b.text("#code-problem"))
    look(b, "first boot, wrong code")
    b.js("document.getElementById('code').value = ''; document.getElementById('code-problem').hidden = true")
    shot(b, "first-boot-desktop")
    # A layout a little different, to see that the comparison of pictures can fail.
    b.js("document.styleSheets[0].insertRule('.card { padding: 1.9rem !important }', document.styleSheets[0].cssRules.length)")
    shot(b, "moved", False)
    b.js("const s = document.styleSheets[0]; s.deleteRule(s.cssRules.length - 1)")
    b.window(*PHONE)
    shot(b, "first-boot-phone")
    b.window(*DESKTOP)
    walk(b, "first boot")
    b.type("#code", SECRET.lower().replace("-", " ").replace(" ", ""))
    b.press(ENTER)
    check("the code, typed in small letters without dashes, opens the next step", b.wait_shown("#new-form"))
    check("the focus is on its heading", b.js("return document.activeElement.id") == "first-title")
    rules = lambda: b.text("#new-rules ul")
    b.type("#new-new", "short")
    check("a short password says how much is missing", b.wait(lambda: "to go" in rules()), rules())
    b.js("const e = document.getElementById('new-new'); e.value = ''; e.dispatchEvent(new Event('input'))")
    b.type("#new-new", "passwordpassword1234")
    check("a well-known one is refused by the device while it is typed", b.wait(lambda: "well-known" in rules().lower() and
          b.js("return !!document.querySelector('#new-rules .no')")), rules())
    look(b, "password step")
    b.js("const e = document.getElementById('new-new'); e.value = ''; e.dispatchEvent(new Event('input'))")
    b.type("#new-new", "cafe\u0301 walnut ferry lantern")
    check("an accent typed in two parts is explained", b.wait(lambda: "Accents count once" in b.text("#new-rules")), b.text("#new-rules"))
    b.type("#new-again", "something else altogether")
    b.click("#new-form [type=submit]")
    check("two different ones are refused", b.wait_shown("#new-problem") and "differ" in b.text("#new-problem"))
    for field in ("#new-new", "#new-again"):
        b.js("const e = document.querySelector(arguments[0]); e.value = ''; e.dispatchEvent(new Event('input'))", field)
        b.type(field, PASSWORD)
    check("a good one is good", b.wait(lambda: b.js("return document.querySelectorAll('#new-rules .yes').length === 4")), rules())
    b.click("#new-form .show")
    check("it can be shown", b.js("return document.getElementById('new-new').type") == "text")
    b.click("#new-form .show")
    shot(b, "password-desktop")
    b.click("#new-form [type=submit]")
    check("the password is set", b.wait_shown("#done"))
    look(b, "first boot, done")
    b.click("#go")
    check("and the device is there", b.wait_shown("#app"))


def device(b):
    check("its state is told", "Security chip ready" in b.text("#lamps"), b.text("#lamps"))
    check("its fingerprint is told", len(b.text("#fp").replace(" ", "")) == 64)
    check("the one of another label is noticed", "NOT the one" in b.text("#fp-note"), b.text("#fp-note"))
    check("the first password is among the events", b.wait(lambda: "first password" in b.text("#events")))
    look(b, "device")
    walk(b, "device")
    b.js("document.getElementById('fp-note').textContent = 'Must be the fingerprint on the label of the device.'")
    shot(b, "status-desktop")
    b.window(*PHONE)
    shot(b, "status-phone")
    b.window(*DESKTOP)
    check("no session is in reach of scripts", b.js("return document.cookie") == "" and b.js("return localStorage.length + sessionStorage.length") == 0)


def update(b):
    b.type("#file", BAD)
    b.click("#install")
    check("a file of a stranger is refused", b.wait_shown("#verdict", 30) and "Not installed" in b.text("#verdict"), b.text("#verdict"))
    check("in plain words", "Nobody this device trusts" in b.text("#verdict-text"), b.text("#verdict-text"))
    look(b, "refused update")
    b.wait(lambda: "An update was refused" in b.text("#events"))
    shot(b, "update-refused-desktop")
    b.cdp("Network.enable")
    b.cdp("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=8 << 20)
    b.js("""window.seen = [];
      new MutationObserver(() => seen.push([document.getElementById("bar-label").textContent, document.getElementById("progress").value]))
        .observe(document.getElementById("bar-text"), { childList: true });""")
    b.js("document.getElementById('update-form').reset()")
    b.type("#file", GOOD)
    b.click("#install")
    check("a bar appears", b.wait_shown("#bar"))
    check("it moves", b.wait(lambda: len(set(v for label, v in b.js("return seen"))) >= 4, 30), b.js("return seen"))
    b.js("document.getElementById('stage').scrollIntoView()")
    look(b, "upload")
    check("the update is accepted", b.wait(lambda: "Accepted" in b.text("#verdict-title"), 60), b.text("#verdict"))
    b.cdp("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    check("the events told of it by themselves", b.wait(lambda: "An update is in place" in b.text("#events")))
    check("and the state", b.wait(lambda: "starts at the next restart" in b.text("#stage")), b.text("#stage"))
    shot(b, "update-desktop")
    b.window(*PHONE)
    shot(b, "update-phone", True, "#update-title")
    b.window(*DESKTOP)
    check("going back is offered", b.is_shown("#rollback") and not b.is_shown("#confirm"))
    b.click("#rollback")
    check("and asked about", b.wait_shown("#ask"))
    look(b, "question")
    b.press(ESCAPE)
    check("Escape leaves the question", b.wait(lambda: not b.is_shown("#ask")) and "starts at the next restart" in b.text("#stage"))
    b.click("#rollback")
    b.click("#ask-yes")
    check("rolled back", b.wait(lambda: "The other system was chosen" in b.text("#events")), b.text("#stage"))


def sessions(b):
    subprocess.run(["curl", "-s", "-o", "/dev/null", "--cacert", LAB + "/device-ca.crt", "--resolve", HOST + ":" + URL.split(":")[2].strip("/") + ":127.0.0.1",
                    "-H", "Content-Type: application/json", "-d", '{"user":"admin","password":"%s"}' % PASSWORD, URL + "v1/session"], check=True)
    check("another session appears by itself", b.wait(lambda: b.js("return document.getElementById('sessions').children.length") == 2))
    b.click("#others")
    check("and can be logged out", b.wait(lambda: b.js("return document.getElementById('sessions').children.length") == 1))
    b.js("fetch('/v1/session', { method: 'DELETE', headers: { 'X-Agentd': '1' } })")
    check("a session that ends elsewhere ends here", b.wait_shown("#login") and "has ended" in b.text("#login-note"), b.text("#login-note"))
    check("nothing of it stays on the page", b.js("return ['facts', 'events', 'sessions'].every((id) => !document.getElementById(id).children.length)"))


def wrong_passwords(b):
    for i in range(18):
        b.js("document.getElementById('password').value = ''")
        b.type("#password", "certainly not this %d" % i)
        b.click("#login-button")
        b.wait(lambda: b.is_shown("#login-problem"))
        b.wait(lambda: "Wait" in b.text("#login-button") or not b.js("return document.getElementById('login-button').disabled"))
        if i == 0:
            check("a wrong password is told", "wrong" in b.text("#login-problem"), b.text("#login-problem"))
            look(b, "wrong password")
            shot(b, "wrong-password-desktop")
            b.window(*PHONE)
            shot(b, "wrong-password-phone")
            b.window(*DESKTOP)
        if "Wait" in b.text("#login-button"):
            break
    before = b.text("#login-button")
    check("after a few the page counts down", "Wait" in before and b.js("return document.getElementById('login-button').disabled"), before)
    check("and says so", "Too many tries" in b.text("#login-problem"), b.text("#login-problem"))
    check("second by second", b.wait(lambda: b.text("#login-button") != before, 5))
    check("then one may try again", b.wait(lambda: b.text("#login-button") == "Log in", 30))
    b.js("document.getElementById('password').value = ''")
    b.type("#password", PASSWORD)
    b.press(ENTER)
    check("the right password opens", b.wait_shown("#app", 30), b.text("#login-problem"))
    b.click("#logout")
    check("logged out", b.wait_shown("#login") and "logged out" in b.text("#login-note"))
    b.go(URL)
    check("coming back asks for the password", b.wait_shown("#login"))


def can_fail(b):
    """The checks find what they are for."""
    if page.AXE:
        b.js("document.getElementById('login-title').style.color = '#ccc'; document.getElementById('user').labels[0].remove()")
        found = page.axe(b)
        check("axe-core finds pale text and a field without a label", all(any(f.startswith(rule) for f in found) for rule in ("color-contrast", "label")), found)
        b.go(URL)
        b.wait_shown("#login")
    for what, script, wanted in (
            ("a field without a label", "document.querySelector('label[for=user]').remove()", "input#user: no visible label"),
            ("pale text", "document.getElementById('login-title').style.color = '#ccc'", "h2#login-title: contrast"),
            ("a heading left out", "const h = document.createElement('h4'); h.textContent = 'x'; document.getElementById('login').append(h)", "headings: h4 after h2"),
            ("a missing language", "document.documentElement.lang = ''", "html: no lang"),
            ("a reference that leads nowhere", "document.getElementById('user').setAttribute('aria-describedby', 'nobody')", "aria-describedby=nobody"),
            ("something too wide", "document.getElementById('login').style.minWidth = '3000px'", "px wide in")):
        b.js(script)
        found = b.js(A11Y)
        check("the check finds " + what, any(wanted in f for f in found), found)
    b.js("document.getElementById('login-button').tabIndex = -1")
    wanted = b.js(FOCUSABLE)
    reached = []
    for _ in range(len(wanted) + 2):
        b.press(TAB)
        reached.append(b.js(FOCUSED)[0])
    check("the check finds what Tab does not reach", "login-button" not in reached and "login-button" in wanted)


def main():
    b = Browser(LAB + "/home", LAB + "/device-ca.crt", HOST)
    try:
        first_boot(b)
        b.collect()
        device(b)
        update(b)
        b.collect()
        sessions(b)
        wrong_passwords(b)
        b.collect()
        # A refused request is a line in the console, whatever a page does about it; anything else is our fault.
        bad = [line for line in b.console if not line.startswith("DEBUG") and not ("Failed to load resource" in line and any("status of %d" % s in line for s in (401, 422, 429)))]
        check("nothing else in the console", not bad, bad)
        foreign = [r for r in b.requests if not r.startswith((URL, "data:", "chrome:"))]
        check("no request to anybody else (%d to the device)" % sum(r.startswith(URL) for r in b.requests), not foreign and b.requests, foreign)
        check("and none with the code", not any(SECRET in r or "WRONG-CODE" in r for r in b.requests))
        can_fail(b)
        b.collect()
        b.js("fetch('https://192.0.2.1/').catch(() => {})")
        b.js("const s = document.createElement('script'); s.textContent = 'window.foreign = 1'; document.head.append(s)")
        b.wait(lambda: b.collect() or len(b.console) > 1, 3)
        check("the policy stops requests to others and scripts in the page", b.js("return window.foreign") is None and
              sum("Content Security Policy" in line for line in b.console) >= 2, b.console[-3:])
        compare_all(b)
    finally:
        b.close()
    return 1 if page.failed else 0


sys.exit(main())

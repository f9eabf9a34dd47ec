# SPDX-License-Identifier: Apache-2.0
"""Accounts, roles, forced changes and offers in a real browser. Called by 32-browser-roles.sh; prints "ok - ..." and "not ok - ..." lines.

browser_roles.py LAB URL SECRET PASSWORD AGENTCTL OFFER SHOTS [--update-shots]
"""
import json, os, shutil, subprocess, sys, time
import page
from page import DESKTOP, ENTER, ESCAPE, PHONE, check, compare, look, shot, walk
from webdriver import Browser

LAB, URL, SECRET, PASSWORD, AGENTCTL, OFFER, SHOTS = sys.argv[1:8]
UPDATE_SHOTS = sys.argv[8:] == ["--update-shots"]
HOST = URL.split("/")[2].split(":")[0]
OTTO_FIRST, OTTO = "a lost umbrella 77 dreams", "seven green ladders fall"
VERA_FIRST, VERA = "eleven copper marmots sing", "nine wooden herons wait"


def ctl(*words, stdin=None):
    subprocess.run(AGENTCTL.split() + list(words), input=stdin, text=True, check=True, stdout=subprocess.DEVNULL)


def fill(b, css, text):
    b.js("const e = document.querySelector(arguments[0]); e.value = ''; e.dispatchEvent(new Event('input', { bubbles: true }))", css)
    b.type(css, text)


def choose(b, css, value):
    b.js("const e = document.querySelector(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change', { bubbles: true }))", css, value)


def login(b, user, password):
    fill(b, "#user", user)
    fill(b, "#password", password)
    # After a failure this source waits a while; the page counts it down.
    b.wait(lambda: not b.js("return document.getElementById('login-button').disabled"), 60)
    b.press(ENTER)


def first_change(b, name, first, password):
    """A login with a password that somebody else chose opens one thing only."""
    login(b, name, first)
    check("%s has to choose a password" % name, b.wait_shown("#new-form") and not b.is_shown("#app"))
    check("which says whose it is and why", name in b.text("#new-why") and not b.is_shown("#steps"), b.text("#new-why"))
    fill(b, "#new-new", first)
    fill(b, "#new-again", first)
    b.click("#new-form [type=submit]")
    check("the one in use is not taken", b.wait_shown("#new-problem") and b.is_shown("#new-form"), b.text("#new-problem"))
    b.go(URL)
    check("loading the page again leads to the same step", b.wait_shown("#new-form") and name in b.text("#new-why"))
    look(b, "forced change of %s" % name)
    fill(b, "#new-new", password)
    fill(b, "#new-again", password)
    b.click("#new-form [type=submit]")
    check("with a password of one's own the device is there", b.wait_shown("#app"), b.text("#new-problem"))
    check("under the right name", b.wait(lambda: b.text("#state") == "Logged in as %s" % name), b.text("#state"))


def logout(b):
    b.click("#logout")
    check("logged out", b.wait_shown("#login"))
    check("nothing of it stays", b.js("return ['facts', 'events', 'sessions', 'accounts', 'certificates', 'policy-now'].every((id) => !document.getElementById(id).textContent)"))


def first_boot_lost(b):
    """Somebody sets the first password on the socket while the page stands at that step."""
    b.window(*DESKTOP)
    b.go(URL)
    b.wait_shown("#code-form")
    b.type("#code", SECRET)
    b.press(ENTER)
    check("the code opens the step of the password", b.wait_shown("#new-form"))
    ctl("passwd", "--stdin", stdin="%s\n%s\n" % (SECRET, PASSWORD))
    fill(b, "#new-new", OTTO)
    fill(b, "#new-again", OTTO)
    b.click("#new-form [type=submit]")
    check("who comes second is told", b.wait_shown("#login") and "Somebody else" in b.text("#login-note"), b.text("#login-note"))
    login(b, "admin", PASSWORD)
    check("the first one counts", b.wait_shown("#app"), b.text("#login-problem"))


def accounts(b):
    rows = lambda: [row.split("\n") for row in b.js("return [...document.querySelectorAll('#accounts > li')].map((e) => e.innerText)")]
    names = lambda: [row[0] for row in rows()]
    check("an administrator sees the accounts", b.is_shown("#accounts") and names() == ["admin, you"], rows())
    check("and may change nothing of the own one there", not b.js("return document.querySelector('#accounts button')"))
    b.click("#account-add")
    check("a question opens", b.wait_shown("#account") and b.text("#account-title") == "Add an account")
    look(b, "account dialog")
    walk(b, "account dialog")
    fill(b, "#account-name", "Otto!")
    fill(b, "#account-new", OTTO_FIRST)
    fill(b, "#account-again", OTTO_FIRST)
    fill(b, "#account-current", "certainly not this")
    b.click("#account-send")
    check("a name that cannot be one is not sent", b.js("return document.getElementById('account-name').validity.patternMismatch") and b.is_shown("#account"))
    fill(b, "#account-name", "otto")
    choose(b, "#account-role", "operator")
    b.click("#account-send")
    check("nobody is added without the administrator's password", b.wait_shown("#account-problem") and "own password" in b.text("#account-problem"),
          b.text("#account-problem"))
    fill(b, "#account-current", PASSWORD)
    fill(b, "#account-new", "password letmein 2026")
    fill(b, "#account-again", "password letmein 2026")
    b.wait(lambda: not b.js("return document.getElementById('account-send').disabled"), 60)
    b.click("#account-send")
    check("a weak password is refused with the reason", b.wait(lambda: "well-known" in b.text("#account-problem")), b.text("#account-problem"))
    fill(b, "#account-new", OTTO_FIRST)
    fill(b, "#account-again", OTTO_FIRST)
    b.click("#account-send")
    check("then it is added", b.wait(lambda: not b.is_shown("#account")) and b.wait(lambda: names() == ["admin, you", "otto"]), rows())
    check("as what it is, and with the password to be changed", "Role operator · has to change the password" in rows()[-1], rows())
    check("no password stays in the page", b.js("return [...document.querySelectorAll('input[type=password]')].every((e) => !e.value)"))
    b.click("#account-add")
    fill(b, "#account-name", "vera")
    for field in ("new", "again"):
        fill(b, "#account-" + field, VERA_FIRST)
    fill(b, "#account-current", PASSWORD)
    b.click("#account-send")
    check("another one", b.wait(lambda: names() == ["admin, you", "otto", "vera"]), rows())
    button = lambda text: "#accounts button[aria-label='%s']" % text
    b.click(button("Role: vera"))
    check("the role it has is the one that is offered", b.wait_shown("#account") and b.js("return document.getElementById('account-role').value") == "viewer")
    check("only what is needed is asked", not b.is_shown("#account-name") and not b.is_shown("#account-new-part"))
    choose(b, "#account-role", "operator")
    fill(b, "#account-current", PASSWORD)
    b.press(ENTER)
    check("a role is changed", b.wait(lambda: "Role operator" in rows()[-1][1]), rows())
    b.click(button("Role: vera"))
    choose(b, "#account-role", "viewer")
    fill(b, "#account-current", PASSWORD)
    b.click("#account-send")
    check("and back", b.wait(lambda: "Role viewer" in rows()[-1][1]), rows())
    b.click(button("Remove: vera"))
    b.wait_shown("#account")
    look(b, "remove dialog")
    b.press(ESCAPE)
    check("Escape removes nobody", b.wait(lambda: not b.is_shown("#account")) and len(rows()) == 3)
    look(b, "accounts")
    walk(b, "accounts")
    b.window(*PHONE)
    shot(b, "accounts-phone", True, "#accounts-title")
    b.window(*DESKTOP)


def policy(b):
    """When offered updates are installed: the administrator's choice."""
    save = lambda value: (choose(b, "#policy", value), b.click("#policy-form [type=submit]"))
    check("the page says when offered updates are installed", b.wait(lambda: "as soon as they are offered" in b.text("#policy-now")), b.text("#policy-now"))
    save("window")
    check("without a window there is no waiting for one", b.wait_shown("#policy-problem") and "no maintenance window" in b.text("#policy-problem"), b.text("#policy-problem"))
    look(b, "update policy refused")
    save("approval")
    check("automatic updates are turned off", b.wait(lambda: "when somebody approves them" in b.text("#policy-now")), b.text("#policy-now") + b.text("#policy-problem"))
    check("which is in the log", b.wait(lambda: "Automatic updates were turned off" in b.text("#events")), b.text("#events")[:300])
    save("automatic")
    check("and on again", b.wait(lambda: "as soon as they are offered" in b.text("#policy-now")), b.text("#policy-now"))
    ctl("update", "policy", "approval")
    check("what is chosen elsewhere is shown here", b.wait(lambda: "when somebody approves them" in b.text("#policy-now")) and
          b.js("return document.getElementById('policy').value") == "approval", b.text("#policy-now"))


def certificates(b):
    rows = b.js("return [...document.querySelectorAll('#certificates > li')].map((e) => e.innerText.split('\\n'))")
    check("the page says which certificates have which role", [row[1] for row in rows] == ["Name · Role operator", "Key · Role viewer"] and
          rows[0][0] == "fleet-tool" and len(rows[1][0]) == 64, rows)
    check("and where that stands", "mgmt.client_roles" in b.text("#certificates-note"), b.text("#certificates-note"))


def viewer(b):
    first_change(b, "vera", VERA_FIRST, VERA)
    check("a viewer is told what the role is", "viewer" in b.text("#role-note"), b.text("#role-note"))
    check("sees the state, the events and the update", b.is_shown("#facts dt") and b.wait(lambda: b.is_shown("#events li")) and b.is_shown("#stage"))
    check("and what is offered", b.wait_shown("#offer", 60) and "version 2.0" in b.text("#offer-title"), b.text("#offer"))
    forbidden = ("#update-form", "#install", "#approve", "#source-approve", "#postpone", "#confirm", "#rollback", "#accounts", "#account-add", "#certificates", "#policy-form")
    check("but nothing to change with", not [css for css in forbidden if b.is_shown(css)], [css for css in forbidden if b.is_shown(css)])
    check("but sees what happens with offered updates", "when somebody approves them" in b.text("#policy-now"), b.text("#policy-now"))
    check("sees only the own sessions", b.js("return [...document.querySelectorAll('#sessions > li')].every((e) => e.innerText.startsWith('vera'))"))
    look(b, "viewer")
    walk(b, "viewer")
    status = b.call("POST", "/execute/async", {"script": """const done = arguments[arguments.length - 1];
      fetch('/v1/update/approve', { method: 'POST', headers: { 'X-Agentd': '1', 'Content-Type': 'application/json' }, body: JSON.stringify({ release_id: 'release-2.0', manifest_sha256: '0'.repeat(64) }) })
        .then((r) => done(r.status))""", "args": []})
    check("who asks past the page is refused by the device", status == 403, status)
    check("and it is in the log", b.wait(lambda: "Somebody asked for what needs a higher role" in b.text("#events")), b.text("#events")[:300])
    b.click("#change")
    fill(b, "#current", VERA)
    for field in ("new", "again"):
        fill(b, "#change-" + field, VERA_FIRST + " and again")
    b.click("#change-form [type=submit]")
    check("a viewer changes the own password", b.wait(lambda: "password is changed" in b.text("#state")), b.text("#change-problem"))
    logout(b)


def operator(b):
    first_change(b, "otto", OTTO_FIRST, OTTO)
    check("an operator is told what the role is", "operator" in b.text("#role-note"), b.text("#role-note"))
    check("may install", b.is_shown("#update-form") and not b.is_shown("#accounts") and not b.is_shown("#policy-form"))
    check("sees what is offered", b.wait_shown("#offer", 60) and b.text("#offer-title") == "A security update can be installed: version 2.0." and
          "CVE-2026-0001" in b.text("#offer-advisory"), b.text("#offer"))
    check("and that somebody has to say yes", b.text("#offer-state") == "It waits for somebody to approve it." and b.is_shown("#approve") and b.is_shown("#postpone"))
    check("and nothing of a source that has nothing", not b.is_shown("#source-offer"))
    os.rename(LAB + "/www/index.json", LAB + "/www/index.empty")
    shutil.copy(LAB + "/www/index.full", LAB + "/www/index.json")
    ctl("update", "check")
    check("what the source of updates has is shown", b.wait_shown("#source-offer", 60) and "version 3.0" in b.text("#source-title"), b.text("#source-offer"))
    check("and that it waits for somebody, too", b.text("#source-waits") == "It waits for somebody to approve it." and b.is_shown("#source-approve"), b.text("#source-waits"))
    look(b, "offer")
    walk(b, "offer")
    b.window(*PHONE)
    shot(b, "offer-phone", True, "#update-title")
    b.window(*DESKTOP)
    b.click("#source-approve")
    check("approved, it is asked about no more", b.wait(lambda: not b.is_shown("#source-offer")), b.text("#app-problem"))
    check("and installed by itself", b.wait(lambda: "starts at the next restart" in b.text("#stage"), 90), b.text("#stage") + b.text("#app-problem"))
    check("by whom is among the events", b.wait(lambda: "action release-3.0" in b.text("#events") and "user otto" in b.text("#events")), b.text("#events")[:300])
    os.rename(LAB + "/www/index.empty", LAB + "/www/index.json")
    ctl("update", "rollback")
    check("taken back elsewhere", b.wait(lambda: "No update is under way" in b.text("#stage")), b.text("#stage"))
    b.click("#postpone")
    check("put off", b.wait(lambda: b.text("#offer-state") == "It was put off."), b.text("#offer-state"))
    check("it is among the events", b.wait(lambda: "An update was put off" in b.text("#events")))
    b.click("#approve")
    check("approved, it is installed by itself", b.wait(lambda: "starts at the next restart" in b.text("#stage"), 90), b.text("#stage") + b.text("#app-problem"))
    check("and is no offer any more", b.wait(lambda: not b.is_shown("#offer")))
    check("the events tell both", b.wait(lambda: "release release-2.0" in b.text("#events") and "An update is in place" in b.text("#events")))
    logout(b)


def alone(b):
    """What others do keeps no session alive that nobody uses."""
    rows = lambda: b.js("return document.querySelectorAll('#sessions > li').length")
    b.wait(lambda: b.js("return document.querySelectorAll('#events > li').length") >= 10)
    before = rows()
    b.js("""touched = 0; window.asked = 0; const real = window.fetch;
      window.fetch = (path, options) => { window.asked += path === '/v1/sessions'; return real(path, options); };""")
    end = time.monotonic() + 60
    while subprocess.run(AGENTCTL.split() + ["login", "--stdin"], input=PASSWORD + "\n", text=True, stdout=subprocess.DEVNULL).returncode:
        if time.monotonic() > end:
            break
        time.sleep(1)
    newest = json.loads(subprocess.run(AGENTCTL.split() + ["--json", "events", "--limit", "1"], text=True, capture_output=True).stdout)["seq"]
    check("an event is drawn while nobody is there", b.wait(lambda: b.js("return !!document.querySelector('#events > li[data-seq=\"%d\"]')" % newest)))
    check("and nothing is asked for it", b.js("return window.asked") == 0)
    b.press(ESCAPE)
    check("when somebody is back it is", b.wait(lambda: rows() == before + 1), (before, rows()))


def end_of_an_account(b):
    login(b, "admin", PASSWORD)
    check("the administrator is back", b.wait_shown("#app"), b.text("#login-problem"))
    check("and told of no role", not b.is_shown("#role-note"))
    alone(b)
    b.click("#accounts button[aria-label='New password: vera']")
    b.wait_shown("#account")
    for field in ("new", "again"):
        fill(b, "#account-" + field, VERA_FIRST)
    fill(b, "#account-current", PASSWORD)
    b.click("#account-send")
    row = "document.querySelector(\"#accounts button[aria-label='Remove: vera']\").closest('li').innerText"
    check("a forgotten password is replaced", b.wait(lambda: "has to change the password" in b.js("return " + row)))
    b.click("#accounts button[aria-label='Remove: vera']")
    b.wait_shown("#account")
    fill(b, "#account-current", PASSWORD)
    b.click("#account-send")
    check("an account is removed", b.wait(lambda: b.js("return document.querySelectorAll('#accounts > li').length") == 2))
    check("the events tell it", b.wait(lambda: "An account was removed" in b.text("#events")))
    logout(b)
    login(b, "vera", VERA_FIRST)
    check("and opens nothing", b.wait_shown("#login-problem") and not b.is_shown("#new-form"), b.text("#login-problem"))


def main():
    b = Browser(LAB + "/home", LAB + "/device-ca.crt", HOST)
    try:
        first_boot_lost(b)
        policy(b)
        ctl("update", "offer", OFFER)
        accounts(b)
        certificates(b)
        b.collect()
        logout(b)
        viewer(b)
        operator(b)
        end_of_an_account(b)
        b.collect()
        # A refused request is a line in the console, whatever a page does about it; anything else is our fault.
        bad = [line for line in b.console if not line.startswith("DEBUG") and not ("Failed to load resource" in line and
               any("status of %d" % s in line for s in (401, 403, 409, 422, 429)))]
        check("nothing else in the console", not bad, bad)
        foreign = [r for r in b.requests if not r.startswith((URL, "data:", "chrome:"))]
        check("no request to anybody else (%d to the device)" % sum(r.startswith(URL) for r in b.requests), not foreign and b.requests, foreign)
        check("no password in an address", not any(max(p.split(), key=len) in r for r in b.requests for p in (PASSWORD, OTTO, VERA, OTTO_FIRST, VERA_FIRST)))
        compare(b, SHOTS, LAB, UPDATE_SHOTS)
    finally:
        b.close()
    return 1 if page.failed else 0


sys.exit(main())

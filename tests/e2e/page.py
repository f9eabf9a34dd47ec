# SPDX-License-Identifier: Apache-2.0
"""What the browser tests of the web page share: counted checks, pictures, accessibility."""
import os, time

HERE = os.path.dirname(os.path.abspath(__file__))
A11Y = open(HERE + "/a11y.js").read()
AXE = open(os.environ["AXE"]).read() if os.environ.get("AXE") else None
TAB, ENTER, ESCAPE = "\ue004", "\ue007", "\ue00c"
DESKTOP, PHONE, NARROW = (1280, 900), (390, 844), (320, 640)
DIFFERENT = 0.004   # share of pixels; a line of text that moved is more
failed = 0


def check(what, is_good, detail=""):
    global failed
    failed += not is_good
    print("%s - %s%s" % ("ok" if is_good else "not ok", what, "" if is_good or detail == "" else ": %s" % (detail,)), flush=True)


# What differs in every run is replaced before a picture is taken; layout and colours stay.
FREEZE = """
/* What comes in meanwhile waits. */
window.held = [];
window.drawn ??= { drawEvent, drawUpdate, drawSessions, drawAccounts };
for (const name of Object.keys(drawn)) window[name] = (...values) => held.push([name, values]);
const set = (css, text) => document.querySelectorAll(css).forEach((e) => { e.textContent = text; });
set("#fp", "01AB 23CD 45EF 6789 01AB 23CD 45EF 6789 01AB 23CD 45EF 6789 01AB 23CD 45EF 6789");
set("#sessions small", "Role admin · 127.0.0.1 · since 1 min · idle 0 s");
document.querySelectorAll("#facts dt").forEach((dt) => { if (dt.textContent === "Running for") dt.nextElementSibling.textContent = "1 min";
  if (dt.textContent === "Connection") { dt.nextElementSibling.remove(); dt.remove(); } });
document.querySelectorAll("#events li").forEach((e, i) => { if (i < 6) e.innerHTML = "Login<small>1/1/2026 · user admin</small>", e.className = ""; else e.remove(); });
document.querySelectorAll("#lamps li").forEach((e) => { if (/^Cloud/.test(e.textContent)) { e.textContent = "Cloud online"; e.className = "good"; } });
document.activeElement.blur(); scrollTo(0, 0);
"""


THAW = "for (const name of Object.keys(drawn)) window[name] = drawn[name]; for (const [name, values] of held) drawn[name](...values)"
shots = {}


def shot(b, name, freeze=True, at=None):
    if freeze:
        b.js(FREEZE)
        if at:
            b.js("document.querySelector(arguments[0]).scrollIntoView()", at)
        time.sleep(0.2)
    shots[name] = b.shot()
    if freeze:
        b.js(THAW)


def compare(b, folder, lab, is_new):
    """The pictures with those in @folder, or into it. At the end, because comparing takes another page."""
    for name, data in shots.items():
        path = "%s/%s.png" % (folder, name)
        with open(path if is_new else "%s/%s.png" % (lab, name), "wb") as out:
            out.write(data)
        with open(path, "rb") as stored:
            share = b.difference(data, stored.read())
        check("picture %s is as stored" % name, share < DIFFERENT, "%.2f %% of it differs, see %s/%s.png" % (share * 100, lab, name))


AXE_RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then((result) => done([result.testEngine.version, result.violations.flatMap((v) =>
  v.nodes.map((n) => `${v.id} (${v.impact}): ${n.target.join(" ")}: ${n.failureSummary.split("\\n").slice(1).join(";").trim()}`))]), (e) => done(["", [String(e)]]));
"""


def axe(b):
    """What axe-core finds in the page as it is, all its rules; AXE names the file axe.min.js (tests/interop/run.sh axe)."""
    if not b.js("return typeof axe === 'object'"):
        b.js(AXE)
    return b.call("POST", "/execute/async", {"script": AXE_RUN, "args": []})[1]


def look(b, name):
    """Accessibility of the page as it is, in both colour schemes, wide and as narrow as WCAG asks."""
    found, found_by_axe = [], []
    for size in (DESKTOP, NARROW):
        for scheme in ("light", "dark"):
            b.window(*size, scheme)
            found += ["%s %d px: %s" % (scheme, size[0], f) for f in b.js(A11Y)]
            if AXE:
                found_by_axe += ["%s %d px: %s" % (scheme, size[0], f) for f in axe(b)]
    b.window(*DESKTOP)
    # Names as the browser tells them to a screen reader.
    # Behind a question the rest of the page is out of reach.
    within = "dialog[open] " if b.is_shown("dialog[open]") else ""
    kinds = ", ".join(within + kind for kind in ("button", "input", "select", "progress", "a", "summary", "section"))
    found += b.steady(lambda: ["no name: " + b.call("GET", "/element/%s/property/outerHTML" % e)[:80] for e in b.find_all(kinds)
                               if b.call("GET", "/element/%s/displayed" % e) and not b.call("GET", "/element/%s/computedlabel" % e)])
    check("%s: nothing keeps anybody out" % name, not found, found)
    if AXE:
        check("%s: axe-core finds no violation" % name, not found_by_axe, found_by_axe)


FOCUSABLE = """
return [...(document.querySelector("dialog[open]") || document).querySelectorAll("a[href],button,input,select,summary,[tabindex='0']")].filter((e) => e.getClientRects().length && !e.disabled)
  .map((e) => e.id || e.textContent.trim().slice(0, 20) || e.outerHTML.slice(0, 60))"""
FOCUSED = """
const e = document.activeElement, style = getComputedStyle(e);
return [e === document.body ? "" : e.id || e.textContent.trim().slice(0, 20) || e.outerHTML.slice(0, 60),
  parseFloat(style.outlineWidth) >= 2 && style.outlineStyle !== "none"]"""


def walk(b, name):
    """Tab reaches everything, in the order of the page, and one sees where one is."""
    wanted = b.js(FOCUSABLE)
    b.js("""document.activeElement.blur();
      getSelection().removeAllRanges();
      const top = document.querySelector("dialog[open]") || document.body;
      top.tabIndex = -1;
      top.focus();
      top.removeAttribute("tabindex");""")
    got, unseen = [], []
    for _ in range(len(wanted)):
        b.press(TAB)
        where, is_seen = b.js(FOCUSED)
        got.append(where)
        if not is_seen:
            unseen.append(where)
    check("%s: Tab goes through everything in order" % name, got == wanted, "%s instead of %s" % (got, wanted))
    check("%s: and shows where it is" % name, not unseen, unseen)

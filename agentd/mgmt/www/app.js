/* First boot, login, status, sessions, events. The session is an HttpOnly cookie: this script never sees it. */

const $ = (id) => document.getElementById(id);
const views = ["away", "first", "login", "app"];
const IDLE_S = 900, WARN_S = 60, AWAY_S = 120, EVENTS_MAX = 100;
const ranks = ["viewer", "operator", "admin"];
let minLength = 15, user = "admin", role = "", source = null, upload = null, idleEnd = 0, touched = Date.now(), fingerprint = "";

/* ---- small things -------------------------------------------------------------------------------------------------- */

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function show(view, title) {
  for (const id of views) $(id).hidden = id !== view;
  $("logout").hidden = view !== "app";
  if (view !== "app") leave();
  const heading = title || $(view + "-title");
  if (heading) heading.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function say(id, text) {
  $(id).hidden = !text;
  $(id).textContent = text || "";
}

function may(least) { return ranks.indexOf(role) >= ranks.indexOf(least); }

function ago(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`;
}

function size(bytes) {
  return bytes < 1048576 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
}

function groups(hex) { return hex.toUpperCase().replace(/(.{4})(?=.)/g, "$1 "); }

/* ---- requests ------------------------------------------------------------------------------------------------------ */

class Problem extends Error {
  constructor(status, data, wait) {
    super(data.detail || data.title || `The device answered with ${status}.`);
    this.status = status;
    this.slug = String(data.type || "").replace("urn:agentd:problem:", "");
    this.name = data.error || "";
    this.reasons = data.reasons || [];
    this.wait = Number(wait) || 0;
    this.next = data.next || "";
  }
}

async function call(method, path, body) {
  const headers = { "X-Agentd": "1" };
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, credentials: "same-origin", cache: "no-store", body: body && JSON.stringify(body) });
  } catch {
    throw new Problem(0, { detail: "The device does not answer. Check the connection and try again." });
  }
  const data = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, data, response.headers.get("Retry-After"));
  used();
  return data;
}

/* Not a password that was wrong: the one who asks is nobody any more. */
function isOver(error) { return error.slug === "authentication-required"; }

/* A form that cannot be sent twice at once; @problem is where its refusals are shown. */
function onSubmit(form, problem, action) {
  $(form).addEventListener("input", (event) => {
    if (!event.target.form.querySelector("[type=submit]").disabled) say(problem, "");
  });
  $(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.target.querySelector("[type=submit]");
    if (button.disabled) return;
    button.disabled = true;
    say(problem, "");
    try {
      await action();
      button.disabled = false;
    } catch (error) {
      if (error.wait > 0) {
        countDown(button, problem, error);
        return;
      }
      button.disabled = false;
      if (role && isOver(error)) {
        login("Your session has ended. Log in again.");
      } else {
        say(problem, error.reasons && error.reasons.length ? `The password ${error.reasons.join(", and it ")}.` : error.message);
      }
    }
  });
}

/* Said once; the seconds are on the button, where a screen reader finds them when it looks. */
function countDown(button, problem, error) {
  const label = button.textContent, end = Date.now() + error.wait * 1000;
  say(problem, `Too many tries. Wait ${ago(error.wait)}, then try again.`);
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left > 0) {
      button.textContent = `Wait ${ago(left)}`;
      return;
    }
    clearInterval(timer);
    button.textContent = label;
    button.disabled = false;
    say(problem, "");
  };
  const timer = setInterval(tick, 500);
  tick();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.show");
  if (!button) return;
  const input = button.parentElement.querySelector("input"), isShown = input.type === "password";
  input.type = isShown ? "text" : "password";
  button.textContent = isShown ? "Hide" : "Show";
  button.setAttribute("aria-pressed", String(isShown));
});

/* ---- a new password, explained while it is typed ------------------------------------------------------------------ */

function passwordFields(prefix) {
  const host = $(`${prefix}-fields`);
  const part = $("fields").content.cloneNode(true);
  for (const labelled of part.querySelectorAll("[data-for]")) labelled.htmlFor = `${prefix}-${labelled.dataset.for}`;
  for (const named of part.querySelectorAll("[data-id]")) named.id = `${prefix}-${named.dataset.id}`;
  host.replaceChildren(part);
  const fresh = $(`${prefix}-new`), again = $(`${prefix}-again`), rules = $(`${prefix}-rules`);
  const list = rules.querySelector("ul"), hint = rules.querySelector(".hint");
  fresh.setAttribute("aria-describedby", rules.id);
  host.querySelector(".show").setAttribute("aria-controls", fresh.id);
  let timer = 0, verdict = null;

  const rule = (is, text) => element("li", text, is === null ? "" : is ? "yes" : "no");
  const draw = () => {
    /* The device keeps passwords in normal form C, so it counts in it too. */
    const normal = fresh.value.normalize("NFC"), letters = [...normal], isTyped = letters.length > 0;
    const isLong = letters.length >= minLength;
    const items = [
      rule(isTyped ? isLong : null, isTyped && !isLong ? `At least ${minLength} characters: ${minLength - letters.length} to go` : `At least ${minLength} characters`),
      rule(isTyped ? new Set(letters).size >= 6 : null, "At least 6 different characters"),
    ];
    if (isTyped && /\p{Cc}/u.test(normal)) items.push(rule(false, "No control characters"));
    if (verdict === null || !isLong) items.push(rule(null, "Not well known, nothing from the label, no simple pattern"));
    else if (verdict.length === 0) items.push(rule(true, "Not well known, nothing from the label, no simple pattern"));
    else for (const reason of verdict) items.push(rule(false, `It ${reason}`));
    if (again.value) items.push(rule(again.value.normalize("NFC") === normal, "Both are the same"));
    list.replaceChildren(...items);
    hint.textContent = normal !== fresh.value ? "Accents count once, however your keyboard makes them." :
      isTyped ? "" : "Several words in a row make a good one. Spaces and any letters are welcome.";
  };
  const ask = async () => {
    const asked = fresh.value;
    try {
      const { reasons } = await call("POST", "/v1/credentials/check", { new: asked });
      if (asked === fresh.value) verdict = reasons;
    } catch { /* the device decides again when the form is sent */ }
    draw();
  };
  fresh.addEventListener("input", () => {
    verdict = null;
    clearTimeout(timer);
    if ([...fresh.value.normalize("NFC")].length >= minLength) timer = setTimeout(ask, 500);
    draw();
  });
  again.addEventListener("input", draw);
  draw();
  return () => {
    if (fresh.value.normalize("NFC") !== again.value.normalize("NFC")) throw new Error("The two new passwords differ.");
    return fresh.value;
  };
}

/* ---- first boot ------------------------------------------------------------------------------------------------------ */

let firstPassword, changedPassword, isForced = false;

/* Another's account, or one's own after an administrator set its password: the same step without code and label. */
function forced(name) {
  user = name;
  isForced = true;
  $("state").textContent = "Password to be changed";
  show("first", $("first-title"));
  firstStep(2);
}

function firstStep(step) {
  if (step === 1) isForced = false;
  $("steps").hidden = isForced;
  $("new-why").textContent = isForced ? `Somebody else knows the password of ${user}. Choose one that only you know.` :
    "From now on this password opens the device. The code on the label will not.";
  $("new-user").value = user;
  for (const [i, id] of ["step1", "step2", "step3"].entries()) {
    $(id).className = i + 1 < step ? "past" : "";
    if (i + 1 === step) $(id).setAttribute("aria-current", "step");
    else $(id).removeAttribute("aria-current");
  }
  $("code-form").hidden = step !== 1;
  $("new-form").hidden = step !== 2;
  $("done").hidden = step !== 3;
  $("first-title").textContent = ["Set up this device", "Choose your password", "Done"][step - 1];
  if (step === 2) firstPassword = passwordFields("new");
  $("first-title").focus({ preventScroll: true });
}

onSubmit("code-form", "code-problem", async () => {
  try {
    user = "admin";
    await call("POST", "/v1/session", { user, password: $("code").value.trim() });
  } catch (error) {
    if (error.status === 401) throw new Error("This is not the code on the label. Check for letters that look alike.");
    throw error;
  }
  $("code-form").reset();
  firstStep(2);
});

/* The right to choose is gone: it was not used for too long, or somebody else was faster. */
async function notYours() {
  $("new-form").reset();
  const { state } = await call("GET", "/v1/bootstrap");
  if (state === "active") {
    login(isForced ? "This took too long. Log in once more." : "Somebody else has set the password meanwhile. Log in with it.");
  } else {
    firstStep(1);
    say("code-problem", "This took too long. Enter the code once more.");
  }
}

onSubmit("new-form", "new-problem", async () => {
  try {
    await call("PUT", `/v1/credentials/${user}`, { new: firstPassword() });
  } catch (error) {
    if (error.status !== 401 && error.status !== 409) throw error;
    await notYours();
    return;
  }
  $("new-form").reset();
  if (isForced) {
    await enter();
    return;
  }
  $("state").textContent = "Ready";
  firstStep(3);
});

$("go").addEventListener("click", () => enter().catch(start));

/* Into the device, or to the password that has to be changed before. */
async function enterOrChange() {
  try {
    await enter();
  } catch (error) {
    const [, name] = /^\/v1\/credentials\/([a-z0-9._-]+)$/.exec(error.next) || [];
    if (error.slug !== "password-change-required" || !name) throw error;
    forced(name);
  }
}

/* ---- login and logout ------------------------------------------------------------------------------------------------ */

function login(note) {
  say("login-note", note);
  $("device").textContent = document.title = "Device";
  $("state").textContent = "Locked";
  show("login");
  $($("user").value ? "password" : "user").focus();
}

onSubmit("login-form", "login-problem", async () => {
  let session;
  try {
    session = await call("POST", "/v1/session", { user: $("user").value, password: $("password").value });
  } catch (error) {
    $("password").setAttribute("aria-invalid", String(error.status === 401));
    if (error.status !== 401) throw error;
    $("password").select();
    throw new Error("User or password is wrong.");
  }
  $("password").removeAttribute("aria-invalid");
  $("password").value = "";
  if (session.scope === "password") forced($("user").value);
  else await enterOrChange();
});

$("logout").addEventListener("click", async () => {
  role = "";
  try { await call("DELETE", "/v1/session"); } catch { /* the session is gone either way */ }
  login("You are logged out.");
});

/* Everything that belongs to a session and must not be there after it; what draws after an answer looks at role first. */
function leave() {
  role = "";
  idleEnd = 0;
  if (source) source.close();
  source = null;
  if (upload) upload.abort();
  stale.clear();
  for (const id of ["facts", "lamps", "sessions", "accounts", "certificates", "events", "update-facts"]) $(id).replaceChildren();
  for (const id of ["app-problem", "idle-text", "change-problem"]) $(id).textContent = "";
  for (const id of ["app-problem", "idle", "change-problem", "verdict", "bar", "offer", "source-offer"]) $(id).hidden = true;
  for (const id of ["stage", "offer-title", "offer-state", "offer-advisory", "source-title", "source-waits", "verdict-title", "verdict-text", "policy-now", "certificates-note"]) $(id).textContent = "";
  say("policy-problem", "");
  policy = "";
  for (const form of ["new-form", "change-form", "update-form", "policy-form"]) $(form).reset();
  openChange(false);
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

/* ---- the device ------------------------------------------------------------------------------------------------------ */

async function enter() {
  const { sessions } = await call("GET", "/v1/sessions");
  const own = sessions.find((one) => one.own) || {};
  role = own.role || "viewer";
  user = own.user || user;
  for (const part of document.querySelectorAll("[data-least]")) part.hidden = !may(part.dataset.least);
  say("role-note", may("admin") ? "" : may("operator") ? "Your role: operator. You may install updates; accounts and keys are for administrators." :
    "Your role: viewer. You see everything here and change nothing.");
  $("change-user").value = user;
  drawSessions(sessions);
  await Promise.all([drawStatus(), drawAccounts()]);
  if (!role) return;
  $("state").textContent = `Logged in as ${user}`;
  show("app", $("status-title"));
  used();
  follow();
}

async function drawStatus() {
  const status = await call("GET", "/v1/status");
  if (!role) return;
  const lamps = [], facts = [];
  for (const [key, words] of Object.entries(lampWords)) {
    const [kind, text] = words[status[key]] || ["", status[key]];
    if (text) lamps.push(element("li", text, kind));
  }
  $("lamps").replaceChildren(...lamps);
  const shownAs = { uptime_s: ago, link_bytes: size };
  for (const [key, name] of factWords) {
    if (status[key] === undefined || status[key] === "") continue;
    facts.push(element("dt", name), element("dd", (shownAs[key] || String)(status[key])));
  }
  $("facts").replaceChildren(...facts);
  const title = [status.model || status.product, status.serial].filter(Boolean).join(" ");
  $("device").textContent = title || "Device";
  document.title = title || "Device";
  $("fp").textContent = groups(status.device_ca_fingerprint || "");
  if (fingerprint && status.device_ca_fingerprint) {
    const isSame = status.device_ca_fingerprint.startsWith(fingerprint.toLowerCase());
    $("fp-note").textContent = isSame ? "Same as in the QR code of the label you scanned." : "NOT the one in the QR code of the label you scanned: this may be another device.";
  }
}

function drawSessions(sessions) {
  if (!role) return;
  $("sessions").replaceChildren(...sessions.map((one) => {
    const item = element("li", one.user + (one.own ? ", this page" : ""));
    item.append(element("small", `Role ${one.role} · ${one.source.replace(/^ip:/, "")} · since ${ago(one.age_s)} · idle ${ago(one.idle_s)}`));
    return item;
  }));
  $("others").disabled = sessions.length < 2;
}

$("others").addEventListener("click", () => attempt(async () => {
  await call("DELETE", "/v1/sessions");
  drawSessions((await call("GET", "/v1/sessions")).sessions);
}));

/* An action of the page that is no form. */
async function attempt(action) {
  say("app-problem", "");
  try {
    await action();
  } catch (error) {
    if (!role) return;
    if (error.status === 401) login("Your session has ended. Log in again.");
    else say("app-problem", problems[error.slug] || error.message);
  }
}

function openChange(isOpen) {
  $("change-form").hidden = !isOpen;
  $("change").hidden = isOpen;
  $("change").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) {
    changedPassword = passwordFields("change");
    $("current").focus();
  }
}

$("change").addEventListener("click", () => openChange(true));

onSubmit("change-form", "change-problem", async () => {
  await call("PUT", `/v1/credentials/${user}`, { current: $("current").value, new: changedPassword() });
  $("change-form").reset();
  openChange(false);
  await enter();
  if (!role) return;
  say("app-problem", "");
  $("state").textContent = "Your password is changed. All other sessions have ended.";
});

/* ---- how long the session lasts -------------------------------------------------------------------------------------- */

function used() {
  if (!role) return;
  idleEnd = Date.now() + IDLE_S * 1000;
  $("idle").hidden = true;
}

setInterval(() => {
  if (!idleEnd || upload) return;
  const left = Math.ceil((idleEnd - Date.now()) / 1000);
  if (left <= 0) login("Your session has ended because nothing was done for 15 minutes.");
  else if (left <= WARN_S && $("idle").hidden) {
    $("idle-text").textContent = "You will be logged out in a minute.";
    $("idle").hidden = false;
  }
}, 1000);

$("stay").addEventListener("click", () => attempt(drawStatus));

/* ---- live ------------------------------------------------------------------------------------------------------------ */

function follow() {
  if (source) source.close();
  source = new EventSource("/v1/events/stream");
  const mine = source;
  let hasHistory = false;
  mine.addEventListener("hello", async (event) => {
    const { last } = JSON.parse(event.data);
    $("live").textContent = "New events appear by themselves.";
    if (hasHistory) return;
    hasHistory = true;
    try {
      const page = await call("GET", `/v1/events?after=${Math.max(0, last - 30)}&limit=30`);
      if (mine !== source) return;
      for (const one of page.events) drawEvent(one, false);
    } catch { /* what comes live is shown all the same */ }
  });
  mine.addEventListener("audit", (event) => drawEvent(JSON.parse(event.data), true));
  mine.addEventListener("update", (event) => drawUpdate(JSON.parse(event.data)));
  mine.addEventListener("end", (event) => {
    if (JSON.parse(event.data).reason !== "session") return;
    mine.close();
    if (mine === source) login("Your session has ended. Log in again.");
  });
  mine.addEventListener("error", () => {
    $("live").textContent = "Not connected. Trying again …";
    if (mine.readyState === EventSource.CLOSED && mine === source) setTimeout(() => { if (mine === source) start(); }, 5000);
  });
}

function drawEvent(one, isFresh) {
  const kind = one.priority <= 3 ? "bad" : one.priority === 4 ? "warn" : "";
  const item = element("li", eventWords[one.name] || one.name, [kind, isFresh ? "fresh" : ""].join(" ").trim());
  const more = Object.entries(one).filter(([key]) => !["seq", "time", "name", "message_id", "priority"].includes(key));
  const time = element("time", new Date(one.time * 1000).toLocaleString());
  time.dateTime = new Date(one.time * 1000).toISOString();
  const line = element("small");
  line.append(time, more.map(([key, value]) => ` · ${key} ${value}`).join(""));
  item.append(line);
  item.dataset.seq = one.seq;
  /* History may come after what is live: newest first by number. */
  const next = [...$("events").children].find((other) => Number(other.dataset.seq) <= one.seq);
  if (next && Number(next.dataset.seq) === one.seq) return;
  $("events").insertBefore(item, next || null);
  while ($("events").children.length > EVENTS_MAX) $("events").lastChild.remove();
  if (isFresh && one.name.startsWith("session.")) redraw("sessions");
  if (isFresh && /^(account|password)[.]/.test(one.name)) redraw("accounts");
  /* Changed here and then elsewhere within a moment, the state of the update may look the same to the stream as before. */
  if (isFresh && /^update[.](policy|opt_out)$/.test(one.name)) drawPolicy(one.to);
}

/*
 * What the page asks by itself counts as use of the session. So it asks only while somebody is there, or a page left alone would stay
 * logged in as long as others give it events to draw; what changed meanwhile is drawn when somebody is back.
 */
const stale = new Set();

function redraw(list) {
  stale.add(list);
  if (!role || Date.now() - touched > AWAY_S * 1000) return;
  const lists = [...stale];
  stale.clear();
  if (lists.includes("sessions")) call("GET", "/v1/sessions").then((data) => drawSessions(data.sessions)).catch(() => {});
  if (lists.includes("accounts")) drawAccounts().catch(() => {});
}

for (const kind of ["pointerdown", "keydown"]) {
  document.addEventListener(kind, () => {
    touched = Date.now();
    for (const list of stale) redraw(list);
  });
}

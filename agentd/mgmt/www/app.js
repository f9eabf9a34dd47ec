/* First boot, login, status, update, sessions, events. The session is an HttpOnly cookie: this script never sees it. */

const $ = (id) => document.getElementById(id);
const views = ["away", "first", "login", "app"];
const IDLE_S = 900, WARN_S = 60, EVENTS_MAX = 100;
let minLength = 15, role = "", source = null, upload = null, idleEnd = 0, fingerprint = "";

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

function mayChange() { return role === "admin"; }

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
  if (role) used();
  return data;
}

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
      } else {
        button.disabled = false;
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

let firstPassword, changedPassword;

function firstStep(step) {
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
    await call("POST", "/v1/session", { user: "admin", password: $("code").value.trim() });
  } catch (error) {
    if (error.status === 401) throw new Error("This is not the code on the label. Check for letters that look alike.");
    throw error;
  }
  $("code-form").reset();
  firstStep(2);
});

onSubmit("new-form", "new-problem", async () => {
  try {
    await call("PUT", "/v1/credentials/admin", { new: firstPassword() });
  } catch (error) {
    if (error.status !== 401) throw error;
    firstStep(1);
    say("code-problem", "This took too long. Enter the code once more.");
    return;
  }
  $("new-form").reset();
  $("state").textContent = "Ready";
  firstStep(3);
});

$("go").addEventListener("click", () => enter().catch(start));

/* ---- login and logout ------------------------------------------------------------------------------------------------ */

function login(note) {
  say("login-note", note);
  $("device").textContent = document.title = "Device";
  $("state").textContent = "Locked";
  show("login");
  $($("user").value ? "password" : "user").focus();
}

onSubmit("login-form", "login-problem", async () => {
  try {
    await call("POST", "/v1/session", { user: $("user").value, password: $("password").value });
  } catch (error) {
    $("password").setAttribute("aria-invalid", String(error.status === 401));
    if (error.status !== 401) throw error;
    $("password").select();
    throw new Error("User or password is wrong.");
  }
  $("password").removeAttribute("aria-invalid");
  $("password").value = "";
  await enter();
});

$("logout").addEventListener("click", async () => {
  role = "";
  try { await call("DELETE", "/v1/session"); } catch { /* the session is gone either way */ }
  login("You are logged out.");
});

/* Everything that belongs to a session and must not be there after it. */
function leave() {
  role = "";
  idleEnd = 0;
  if (source) source.close();
  source = null;
  if (upload) upload.abort();
  for (const id of ["facts", "lamps", "sessions", "events", "update-facts"]) $(id).replaceChildren();
  for (const id of ["app-problem", "idle-text", "change-problem"]) $(id).textContent = "";
  for (const id of ["app-problem", "idle", "change-problem", "verdict", "bar"]) $(id).hidden = true;
  $("change-form").reset();
  openChange(false);
}

/* ---- the device ------------------------------------------------------------------------------------------------------ */

async function enter() {
  const { sessions } = await call("GET", "/v1/sessions");
  const own = sessions.find((one) => one.own) || {};
  role = own.role || "viewer";
  for (const part of document.querySelectorAll("[data-admin]")) part.hidden = !mayChange();
  drawSessions(sessions);
  await drawStatus();
  $("state").textContent = `Logged in as ${own.user || "admin"}`;
  show("app", $("status-title"));
  used();
  follow();
}

async function drawStatus() {
  const status = await call("GET", "/v1/status");
  const lamps = [], facts = [];
  for (const [key, words] of Object.entries(lampWords)) {
    const [kind, text] = words[status[key]] || ["", status[key]];
    if (text) lamps.push(element("li", text, kind));
  }
  $("lamps").replaceChildren(...lamps);
  for (const [key, name] of factWords) {
    if (status[key] === undefined || status[key] === "") continue;
    facts.push(element("dt", name), element("dd", key === "uptime_s" ? ago(status[key]) : String(status[key])));
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
    if (error.status === 401) login("Your session has ended. Log in again.");
    else say("app-problem", error.message);
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
  await call("PUT", "/v1/credentials/admin", { current: $("current").value, new: changedPassword() });
  $("change-form").reset();
  openChange(false);
  await enter();
  say("app-problem", "");
  $("state").textContent = "Your password is changed. All other sessions have ended.";
});

/* ---- how long the session lasts -------------------------------------------------------------------------------------- */

function used() {
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
  if (isFresh && one.name.startsWith("session.") && role) call("GET", "/v1/sessions").then((data) => drawSessions(data.sessions)).catch(() => {});
}

/* ---- update ---------------------------------------------------------------------------------------------------------- */

function progress(label, done, total) {
  $("bar").hidden = false;
  $("bar-label").textContent = label;
  $("progress").value = total ? Math.min(100, done / total * 100) : 0;
  $("bar-text").textContent = total ? `${size(done)} of ${size(total)}` : size(done);
}

function verdict(kind, title, text) {
  $("verdict").className = `note ${kind}`;
  $("verdict-title").textContent = title;
  $("verdict-text").textContent = text;
  $("verdict").hidden = false;
}

function drawUpdate(update) {
  const isTrial = update.stage === "trying", isNew = isTrial && update.booted_slot === update.target_slot;
  $("stage").textContent = isNew ? "A new system is running on trial. Keep it if the device works as it should." :
    isTrial ? "The update is in place. It starts at the next restart of the device." : stages[update.stage] || update.stage;
  if (update.stage === "writing") progress("Writing", update.done_bytes, update.total_bytes);
  else if (!upload) $("bar").hidden = true;
  const facts = [["Running system", update.booted_slot], ["Version of the update", update.version],
    ["Tries left", isTrial ? update.tries_left : ""], ["Oldest security version", update.floor], ["Did not start", update.failed_release_id]];
  $("update-facts").replaceChildren(...facts.filter(([, value]) => value !== undefined && value !== "").flatMap(([name, value]) =>
    [element("dt", name), element("dd", String(value))]));
  drawOffer(update);
  $("confirm").hidden = !isNew;
  $("rollback").hidden = !(isTrial || update.stage === "confirmed" || update.stage === "written");
}

let offered = "";

function drawOffer(update) {
  const isWaiting = update.offer_state === "waiting", isShown = isWaiting || update.offer_state === "refused";
  offered = update.offer_release_id || "";
  $("offer").hidden = !isShown;
  if (!isShown) return;
  $("offer-title").textContent = isWaiting ? `${offerKinds[update.offer_kind] || "An update"} can be installed: version ${update.offer_version}.` :
    "An offered update cannot be installed.";
  $("offer-state").textContent = isWaiting ? offerWaits[update.offer_waits_for] || "" : refusal(update.offer_error_name, "");
  $("offer-advisory").textContent = update.offer_advisory || "";
  $("approve").hidden = !isWaiting || Boolean(update.offer_approved_by);
  $("postpone").hidden = !isWaiting || !update.offer_postpones_left;
}

$("approve").addEventListener("click", () => attempt(async () => drawUpdate(await call("POST", "/v1/update/approve", { release_id: offered }))));
$("postpone").addEventListener("click", () => attempt(async () => drawUpdate(await call("POST", "/v1/update/postpone", { hours: 24 }))));

onSubmit("update-form", "app-problem", async () => {
  const file = $("file").files[0];
  $("verdict").hidden = true;
  try {
    const update = await send(file);
    verdict("good", "Accepted.", `Version ${update.version} is in place. Restart the device to start it.`);
    $("update-form").reset();
  } catch (error) {
    if (error.status === 401) login("Your session has ended. Log in again.");
    else if (error.isCancelled) verdict("warn", "Cancelled.", "Nothing was changed.");
    else verdict("bad", "Not installed.", refusal(error.name, error.slug) + (error.message ? ` (${error.message})` : ""));
  }
  $("bar").hidden = true;
});

/* fetch() does not tell how much has gone. */
function send(file) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let isCancelled = false;
    upload = { abort() { isCancelled = true; request.abort(); } };
    $("cancel").hidden = false;
    request.open("POST", "/v1/update");
    request.setRequestHeader("X-Agentd", "1");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => progress("Sending", event.loaded, event.total));
    const fail = (error) => reject(Object.assign(error, { isCancelled }));
    request.addEventListener("loadend", async () => {
      upload = null;
      $("cancel").hidden = true;
      used();
      let data = {};
      try { data = JSON.parse(request.responseText); } catch { /* no answer, or none for us */ }
      if (request.status === 200) resolve(data);
      else if (request.status) fail(new Problem(request.status, data));
      else if (isCancelled) fail(new Error(""));
      else {
        /* The device may have refused and hung up before all was sent: it still knows why. */
        const state = await call("GET", "/v1/update").catch(() => ({}));
        fail(new Problem(0, state.stage === "failed" ? { detail: state.error, error: state.error_name } : { detail: "the connection broke" }));
      }
    });
    progress("Sending", 0, file.size);
    request.send(file);
  });
}

$("cancel").addEventListener("click", () => { if (upload) upload.abort(); });
$("confirm").addEventListener("click", () => attempt(async () => drawUpdate(await call("POST", "/v1/update/confirm"))));
$("rollback").addEventListener("click", () => $("ask").showModal());
$("ask").addEventListener("close", () => {
  if ($("ask").returnValue === "yes") attempt(async () => drawUpdate(await call("POST", "/v1/update/rollback")));
  $("ask").returnValue = "";
});

/* ---- begin ----------------------------------------------------------------------------------------------------------- */

/* The QR code on the label carries code and fingerprint behind '#', which a browser sends nowhere; nor does it stay in the address. */
function takeFragment() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (!fragment.has("c") && !fragment.has("fp")) return;
  history.replaceState(null, "", location.pathname);
  if (/^[0-9A-Za-z-]{12,20}$/.test(fragment.get("c") || "")) $("code").value = fragment.get("c");
  if (/^[0-9a-fA-F]{20,64}$/.test(fragment.get("fp") || "")) {
    fingerprint = fragment.get("fp");
    $("label-fp").textContent = `The label says: ${groups(fingerprint)}`;
    $("label-fp").hidden = false;
  }
}

async function start() {
  try {
    const boot = await call("GET", "/v1/bootstrap");
    minLength = boot.password_min_length;
    $("state").textContent = { factory: "Not set up yet", active: "Ready", recovery: "Needs recovery" }[boot.state] || "Not ready";
    if (boot.state === "factory") {
      show("first", $("first-title"));
      firstStep(1);
      if ($("code").value === "") $("code").focus();
    } else if (boot.state === "active") {
      await enter().catch((error) => error.status === 401 ? login("") : Promise.reject(error));
    } else {
      $("away-text").textContent = boot.state === "recovery" ?
        "The stored password and the security chip do not agree, so the doors stay closed. A factory reset with the button on the device brings it back to the code on its label." :
        boot.state === "unprovisioned" ? "This device has not been provisioned by the factory." : "The security chip does not answer yet.";
      show("away");
    }
  } catch (error) {
    $("state").textContent = "Not reachable";
    $("away-text").textContent = error.wait ? `The device asks for a pause of ${ago(error.wait)}.` : error.message;
    show("away");
  }
}

$("again").addEventListener("click", start);
addEventListener("hashchange", takeFragment);
takeFragment();
start();

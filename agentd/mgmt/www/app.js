"use strict";
/* First-boot password and status. The session is an HttpOnly cookie: this script never sees it. */

const $ = (id) => document.getElementById(id);
const sections = ["setup", "login", "recovery", "status"];
let minLength = 15;

function show(section) {
  for (const id of sections) $(id).hidden = id !== section;
}

function problem(lines) {
  const list = $("problem");
  list.replaceChildren(...lines.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
  list.hidden = lines.length === 0;
}

async function call(method, path, body) {
  const headers = { "X-Agentd": "1" };
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, credentials: "same-origin", body: body && JSON.stringify(body) });
  } catch {
    throw ["The device does not answer."];
  }
  const data = response.status === 204 ? {} : await response.json().catch(() => ({}));
  if (response.ok) return data;
  const lines = data.reasons || [data.detail || data.title || `Error ${response.status}`];
  const wait = response.headers.get("Retry-After");
  if (wait) lines.push(`Try again in ${wait} s.`);
  throw lines;
}

const facts = [
  ["product", "Product"], ["model", "Model"], ["serial", "Serial number"], ["version", "Agent"], ["setup", "Setup"],
  ["tpm_state", "Security chip"], ["link_state", "Cloud connection"], ["booted_slot", "Running slot"],
  ["update_stage", "Update"], ["floor", "Oldest security version allowed"], ["device_ca_fingerprint", "Device CA (compare with the label)"],
];

async function showStatus() {
  const status = await call("GET", "/v1/status");
  $("facts").replaceChildren(...facts.filter(([key]) => status[key] !== undefined && status[key] !== "").flatMap(([key, name]) => {
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = String(status[key]);
    return [dt, dd];
  }));
  show("status");
}

function handler(form, action) {
  $(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.target.querySelector("button");
    button.disabled = true;
    problem([]);
    try {
      await action();
    } catch (lines) {
      problem(Array.isArray(lines) ? lines : [String(lines)]);
    }
    button.disabled = false;
  });
}

handler("setup-form", async () => {
  const fresh = $("new").value;
  if (fresh !== $("again").value) throw ["The two new passwords differ."];
  if ([...fresh].length < minLength) throw [`The password needs at least ${minLength} characters.`];
  await call("POST", "/v1/session", { user: "admin", password: $("code").value.trim() });
  await call("PUT", "/v1/credentials/admin", { new: fresh });
  $("setup-form").reset();
  $("state").textContent = "Your password is set. The code on the label no longer opens this device.";
  await showStatus();
});

handler("login-form", async () => {
  await call("POST", "/v1/session", { user: "admin", password: $("password").value });
  $("login-form").reset();
  await showStatus();
});

$("logout").addEventListener("click", async () => {
  try { await call("DELETE", "/v1/session"); } catch { /* the session is gone either way */ }
  start();
});

$("show").addEventListener("change", (event) => {
  for (const id of ["new", "again"]) $(id).type = event.target.checked ? "text" : "password";
});

async function start() {
  problem([]);
  try {
    const boot = await call("GET", "/v1/bootstrap");
    minLength = boot.password_min_length;
    $("hint").textContent = `At least ${minLength} characters; several words make a good one. Nothing that is on the label.`;
    $("state").textContent = { factory: "Not set up yet", active: "Ready", recovery: "Needs recovery" }[boot.state] || "Not provisioned by the factory";
    if (boot.state === "factory") {
      /* The QR code on the label carries the code behind '#', which a browser never sends anywhere. */
      const code = new URLSearchParams(location.hash.slice(1)).get("c");
      if (code) {
        $("code").value = code;
        history.replaceState(null, "", location.pathname);
      }
      show("setup");
    } else if (boot.state === "active") {
      try { await showStatus(); } catch { show("login"); }
    } else {
      show(boot.state === "recovery" ? "recovery" : "");
    }
  } catch (lines) {
    $("state").textContent = "Not reachable";
    problem(Array.isArray(lines) ? lines : [String(lines)]);
  }
}

start();

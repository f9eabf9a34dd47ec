/* Update: sending a file, its verdict, keep or go back, and what a server offers. */

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
  if (!role) return;
  const isTrial = update.stage === "trying", isNew = isTrial && update.booted_slot === update.target_slot;
  $("stage").textContent = isNew ? "A new system is running on trial. Keep it if the device works as it should." :
    isTrial ? `The update is in place. ${rebootText(update)}` : stages[update.stage] || update.stage;
  if (update.stage === "writing") progress("Writing", update.done_bytes, update.total_bytes);
  else if (!upload) $("bar").hidden = true;
  const facts = [["Running system", update.booted_slot], ["Version of the update", update.version],
    ["Tries left", isTrial ? update.tries_left : ""], ["Oldest security version", update.floor], ["Did not start", update.failed_release_id]];
  $("update-facts").replaceChildren(...facts.filter(([, value]) => value !== undefined && value !== "").flatMap(([name, value]) =>
    [element("dt", name), element("dd", String(value))]));
  drawOffer(update);
  drawSource(update);
  drawPolicy(update.policy);
  $("confirm").hidden = !isNew;
  $("reboot").hidden = !update.reboot_waits_for || update.reboot_waits_for === "asked";
  $("reboot-postpone").hidden = !update.reboot_postpones_left;
  $("rollback").hidden = !(isTrial || update.stage === "confirmed" || update.stage === "written");
}

function rebootText(update) {
  const announced = update.reboot_in_s === undefined ? "The device restarts soon." : `The device restarts in ${update.reboot_in_s} seconds.`;
  return update.reboot_waits_for === "notice" ? `${announced} Then it starts.` : rebootWaits[update.reboot_waits_for] || rebootWaits.person;
}

let offered = {};

function drawOffer(update) {
  const isWaiting = update.offer_state === "waiting", isShown = isWaiting || update.offer_state === "refused";
  offered = { release_id: update.offer_release_id, manifest_sha256: update.offer_manifest_sha256 };
  $("offer").hidden = !isShown;
  if (!isShown) return;
  $("offer-title").textContent = isWaiting ? `${offerKinds[update.offer_kind] || "An update"} can be installed: version ${update.offer_version}.` :
    "An offered update cannot be installed.";
  $("offer-state").textContent = isWaiting ? offerWaits[update.offer_waits_for] || "" : refusal(update.offer_error_name, "");
  $("offer-advisory").textContent = update.offer_advisory || "";
  $("approve").hidden = !isWaiting || Boolean(update.offer_approved_by);
  $("postpone").hidden = !isWaiting || !update.offer_postpones_left;
}

$("approve").addEventListener("click", () => attempt(async () => drawUpdate(await call("POST", "/v1/update/approve", offered))));
$("postpone").addEventListener("click", () => attempt(async () => drawUpdate(await call("POST", "/v1/update/postpone", { hours: 24 }))));

/* What the source of updates has: its release is known only from inside the bundle, so what is approved is what it calls it. */
let sourceOffer = {};

function drawSource(update) {
  sourceOffer = { action: update.source_action, version: update.source_version || "" };
  $("source-offer").hidden = !update.source_waits_for || !update.source_action;
  $("source-title").textContent = `The update server has ${sourceOffer.version ? `version ${sourceOffer.version}` : "an update"} for this device.`;
  $("source-waits").textContent = offerWaits[update.source_waits_for] || "";
}

$("source-approve").addEventListener("click", () => attempt(async () => {
  await call("POST", "/v1/update/source/approve", sourceOffer);
  drawUpdate(await call("GET", "/v1/update"));
}));

let policy = "";

/* The choice is put right when the rule changes, and not under the hands of somebody who is choosing. */
function drawPolicy(now) {
  if (policy === now) return;
  policy = now;
  $("policy").value = now;
  $("policy-now").textContent = policies[now] || now;
}

onSubmit("policy-form", "policy-problem", async () => {
  try {
    drawUpdate(await call("PUT", "/v1/update/policy", { policy: $("policy").value }));
  } catch (error) {
    if (error.name === "update.windows") throw new Error("This device has no maintenance window: its settings have to name one first.");
    throw error;
  }
});

onSubmit("update-form", "app-problem", async () => {
  const file = $("file").files[0];
  $("verdict").hidden = true;
  try {
    const update = await send(file);
    if (!role) return;
    verdict("good", "Accepted.", `Version ${update.version} is in place. It starts at the next restart of the device.`);
    $("update-form").reset();
  } catch (error) {
    if (!role) return;
    if (isOver(error)) login("Your session has ended. Log in again.");
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
$("reboot").addEventListener("click", () => $("ask-reboot").showModal());
$("ask-reboot").addEventListener("close", () => {
  if ($("ask-reboot").returnValue === "yes") attempt(async () => drawUpdate(await call("POST", "/v1/update/reboot")));
  $("ask-reboot").returnValue = "";
});
$("reboot-postpone").addEventListener("click", () => attempt(async () => drawUpdate(await call("POST", "/v1/update/postpone", { hours: 24 }))));
$("rollback").addEventListener("click", () => $("ask").showModal());
$("ask").addEventListener("close", () => {
  if ($("ask").returnValue === "yes") attempt(async () => drawUpdate(await call("POST", "/v1/update/rollback")));
  $("ask").returnValue = "";
});

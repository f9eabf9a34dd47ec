/* What the page begins with; the last part of the script. */

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
      await enterOrChange().catch((error) => error.status === 401 ? login("") : Promise.reject(error));
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

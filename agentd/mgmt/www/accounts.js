/* Who may log in, for administrators. Each change needs the administrator's own password. */

const accountTasks = {
  add: {
    title: () => "Add an account", button: "Add", parts: ["name", "role", "new"],
    text: "The password you choose is for the first login only: it has to be changed then.",
    send: (name, body) => call("POST", "/v1/accounts", { name, ...body }),
  },
  role: {
    title: (name) => `Role of ${name}`, button: "Change role", parts: ["role"], text: "Whoever is logged in with this account has to log in again.",
    send: (name, body) => call("PUT", `/v1/accounts/${name}/role`, body),
  },
  password: {
    title: (name) => `New password for ${name}`, button: "Set password", parts: ["new"],
    text: "It is for the next login only: it has to be changed then. Whoever is logged in with this account has to log in again.",
    send: (name, body) => call("PUT", `/v1/accounts/${name}/password`, body),
  },
  remove: {
    title: (name) => `Remove ${name}?`, button: "Remove", parts: [], text: "Nobody can log in with this account any more.",
    send: (name, body) => call("POST", `/v1/accounts/${name}/remove`, body),
  },
};
let accountTask = null, accountName = "", assigned = null, accountsDrawn = "";

async function drawAccounts() {
  if (!may("admin")) return;
  const { accounts, certificates } = await call("GET", "/v1/accounts");
  if (!may("admin")) return;
  const text = JSON.stringify([user, accounts, certificates]);
  if (text === accountsDrawn && $("accounts").children.length) return;
  accountsDrawn = text;
  drawCertificates(certificates);
  /* Drawn anew under somebody's keyboard, the focus stays where it was. */
  const focused = document.activeElement.dataset.key;
  $("accounts").replaceChildren(...accounts.map((one) => {
    const item = element("li", one.name + (one.name === user ? ", you" : ""));
    item.append(element("small", `Role ${one.role}${one.must_change ? " · has to change the password" : ""}`));
    if (one.name === user) return item;
    const row = element("div", undefined, "row");
    for (const [task, text] of [["role", "Role"], ["password", "New password"], ["remove", "Remove"]]) {
      const button = element("button", text, "quiet small");
      button.type = "button";
      button.dataset.key = `${task} ${one.name}`;
      button.setAttribute("aria-label", `${text}: ${one.name}`);
      button.addEventListener("click", () => openAccount(task, one));
      row.append(button);
    }
    item.append(row);
    return item;
  }));
  if (focused) [...$("accounts").querySelectorAll("button")].find((button) => button.dataset.key === focused)?.focus();
}

/* Rows of mgmt.client_roles, "ROLE KIND:VALUE": they stand in the settings of the device and cannot be changed here. */
function drawCertificates(rows) {
  $("certificates-note").textContent = rows === undefined ? "None can come in: the settings open no door for client certificates (mgmt.client_listen)." :
    rows.length === 0 ? "The door for client certificates is open, but no certificate has a role (mgmt.client_roles)." :
    "Who shows one of these certificates has its role without a password. The first row that fits counts (mgmt.client_roles in the settings).";
  $("certificates").replaceChildren(...(rows || []).map((row) => {
    const [has, what] = [row.slice(0, row.indexOf(" ")), row.slice(row.indexOf(" ") + 1)];
    const [kind, value] = [what.slice(0, what.indexOf(":")), what.slice(what.indexOf(":") + 1)];
    const item = element("li", value);
    item.append(element("small", `${certificateKinds[kind] || kind} · Role ${has}`));
    return item;
  }));
}

function openAccount(task, { name, role: has }) {
  accountTask = accountTasks[task];
  accountName = name;
  $("account-form").reset();
  say("account-problem", "");
  $("account-title").textContent = accountTask.title(name);
  $("account-text").textContent = accountTask.text;
  $("account-send").textContent = accountTask.button;
  for (const part of ["name", "role", "new"]) {
    const isNeeded = accountTask.parts.includes(part);
    $(`account-${part}-part`).hidden = !isNeeded;
    for (const field of $(`account-${part}-part`).querySelectorAll("input, select")) field.disabled = !isNeeded;
  }
  if (accountTask.parts.includes("new")) assigned = passwordFields("account");
  $("account-role").value = has;
  $("account").showModal();
}

$("account-add").addEventListener("click", () => openAccount("add", { name: "", role: "viewer" }));
$("account-cancel").addEventListener("click", () => $("account").close());
/* Passwords do not stay behind a closed dialog. */
$("account").addEventListener("close", () => {
  $("account-form").reset();
  $("account-fields").replaceChildren();
});

onSubmit("account-form", "account-problem", async () => {
  const parts = accountTask.parts, body = { current: $("account-current").value };
  if (parts.includes("role")) body.role = $("account-role").value;
  if (parts.includes("new")) body.new = assigned();
  try {
    await accountTask.send(accountName || $("account-name").value, body);
  } catch (error) {
    if (error.slug === "wrong-credentials") throw new Error("Your own password is wrong.");
    throw error;
  }
  $("account").close();
  await drawAccounts();
});

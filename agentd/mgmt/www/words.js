"use strict";
/* Plain words for what the device says in names: refusals of an update, stages, events. */

/* The longest name that begins an error's name counts. */
const refusals = {
  "update.signature": "The signature of this file is not right. It was not made for this device, or it was changed on the way.",
  "update.signer": "Nobody this device trusts has signed this file.",
  "update.threshold": "Not enough of the people who must sign an update have signed this file.",
  "update.trust": "This device has no key to check updates with. Its maker has to install one.",
  "update.expired": "The signer's certificate has run out. Ask for a newer file.",
  "update.too-early": "The signer's certificate is not valid yet. Is the clock of the device right?",
  "update.stale": "This update is older than what may be installed. Going back to old versions is not possible.",
  "update.product": "This update is for another product.",
  "update.failed-before": "This release was tried before and did not start. Get a newer one.",
  "update.busy": "Another update is being installed. Wait until it is done.",
  "update.pending": "An update is waiting to be kept or given up. Do that first.",
  "update.policy": "The rules of this device do not allow this update now.",
  "update.chunk": "A part of the file is damaged. Download it again and try once more.",
  "update.hash": "The file is damaged. Download it again and try once more.",
  "update.size": "The system in this file does not fit on this device.",
  "update.stalled": "No data came for too long. Try again over a better connection.",
  "update.pipe": "The upload was cut off. Try again.",
  "container": "This file is not an update, or it is damaged.",
  "manifest": "The description inside this file cannot be used. It was not made for this device.",
  "slot": "The place for the new system cannot be written. The device may need service.",
  "boot": "The boot loader cannot be told about the new system. The device may need service.",
};

const problems = {
  "update-stale": "This update is older than what may be installed. Going back to old versions is not possible.",
  "too-large": "The file is too large.",
  "request-timeout": "The upload was too slow. Try again over a better connection.",
  "no-space": "There is not enough space on the device.",
  "busy": "The device is busy. Wait a moment and try again.",
  "not-permitted": "Your role does not allow this.",
  "core-unreachable": "The device is starting. Wait a moment and try again.",
};

function refusal(name, slug) {
  let found = "";
  for (const key of Object.keys(refusals))
    if (name && name.startsWith(key) && key.length > found.length) found = key;
  return found ? refusals[found] : problems[slug] || "The update was not accepted.";
}

const stages = {
  idle: "No update is under way.",
  receiving: "The update is arriving and is being checked.",
  writing: "The update is being written beside the running system.",
  written: "The update is in place.",
  confirmed: "The running system is kept.",
  failed: "The last update was not installed.",
};

const rebootWaits = {
  person: "It starts at the next restart of the device.",
  window: "The device restarts by itself in the next maintenance window, and then it starts.",
  clock: "The device would restart in the maintenance window, which cannot be known, as its clock was not set. Restart it yourself.",
  postponed: "The restart of the device was put off.",
  held: "A program of this device is holding the restart back until its work is done.",
  retry: "The device could not be restarted. It is tried again in a while.",
  asked: "The device is restarting. If it is not, restart it yourself.",
};

const offerKinds = { security: "A security update", feature: "An update with new functions" };
const offerWaits = {
  approval: "It waits for somebody to approve it.",
  window: "It is installed in the next maintenance window.",
  clock: "It waits: the maintenance window cannot be known, as the clock of the device was not set.",
  postponed: "It was put off.",
  retry: "The last try did not work. It is tried again in a while.",
};

const policies = {
  automatic: "They are installed by themselves, as soon as they are offered.",
  window: "They are installed by themselves, in the maintenance window.",
  approval: "They are installed when somebody approves them, and not by themselves.",
};

const certificateKinds = { spki: "Key", cn: "Name", dns: "Host", uri: "Address", email: "Mail" };

const eventWords = {
  "agent.started": "The security agent started", "agent.provisioned": "The device was provisioned",
  "agent.program_restarted": "A program ended and was started again", "agent.peer_refused": "A program was cut off: it asked for what it may not",
  "tpm.state": "The security chip changed state", "events.damaged": "The event log was damaged; the damaged part was set aside",
  "session.created": "Login", "session.failed": "Wrong user or password", "session.ended": "Logout", "session.expired": "A session ran out",
  "password.first_set": "The owner set the first password", "password.changed": "Password changed", "password.rejected": "A new password was refused",
  "backoff.entered": "Too many wrong passwords: this source has to wait", "strangers.closed": "100 wrong passwords in a row: unknown clients are locked out",
  "strangers.opened": "Unknown clients may try passwords again", "label_code.used": "Login with the code on the label",
  "state.rollback_detected": "Old files were put back", "cert.minted": "New certificate for this page", "peer.throttled": "Requests over a limit",
  "key.created": "A key was made", "key.refused": "A program asked for a key it may not use", "key.rights": "Other programs may use a key now",
  "evidence.given": "Evidence was given", "source.offered": "The update server has an update for this device", "source.reported": "The update server was told a result", "update.begun": "An update is arriving", "update.refused": "An update was refused",
  "update.installed": "An update is in place", "update.confirmed": "The new system was kept", "update.fell_back": "The new system did not start; the old one runs",
  "update.offered": "An update can be had", "update.approved": "An update was approved", "update.postponed": "An update was put off",
  "update.policy": "Updates are installed by another rule", "update.reboot_due": "The device restarts soon, for an update", "update.reboot_held": "A program holds the restart back", "update.reboot": "The device restarts for an update",
  "update.reboot_failed": "The device could not be restarted", "update.opt_out": "Automatic updates were turned off", "update.withdrawn": "An update is not offered any more",
  "config.changed": "The settings are others than at the last start", "agent.provision_refused": "A code for the label was not stored",
  "agent.activated": "The first password came from a signed file", "agent.activation_refused": "A file with a first password was refused",
  "login.accepted": "Login on the device itself", "backoff.left": "A source that had to wait gave the right password",
  "role.refused": "Somebody asked for what needs a higher role",
  "https.requested": "A certificate of your own was asked for", "https.installed": "This page has a certificate of your own now",
  "https.removed": "This page has the certificate of the device again", "https.expired": "Your own certificate of this page has run out",
  "client.refused": "A client certificate was refused", "account.added": "An account was added", "account.role": "An account has another role",
  "account.removed": "An account was removed", "account.refused": "A change of accounts was refused",
  "password.assigned": "An administrator gave an account a new password", "factory_reset.requested": "A factory reset was asked for",
  "factory_reset.done": "The device is as from the factory", "factory_reset.failed": "The factory reset did not work",
  "factory_secret.renewed": "The device got another code for its label", "key.imported": "A key was brought in from elsewhere",
  "key.rotation_begun": "A key or certificate is being replaced", "key.rotated": "A key or certificate was replaced",
  "key.rotation_failed": "A new key or certificate was given up", "secret.sealed": "An application had a secret sealed",
  "secret.unsealed": "An application was given a sealed secret",
  "update.rolled_back": "The other system was chosen", "update.floor_raised": "Older versions cannot be installed any more",
  "update.signers": "Others sign updates from now on", "update.key_set": "Encrypted updates are read with another key from now on",
  "update.recipient_made": "A key was made that updates can be encrypted to",
  "update.ticket_given": "A service ticket was given: an older release may be installed once", "update.ticket_refused": "A service ticket was refused",
  "update.ticket_used": "An older release goes into service by a ticket", "update.ticket_removed": "A service ticket was taken back",
  "update.key_removed": "Encrypted updates cannot be read any more", "time.state": "The time can be relied on more or less than before",
  "time.stepped": "Somebody set the clock", "time.corrected": "A trusted source set the time right",
  "time.saved_bad": "The saved time could not be used",
  "est.begun": "A new device certificate is asked for", "est.issued": "A new device certificate came and is tried", "est.done": "The new device certificate is in use",
  "est.refused": "A new device certificate was refused; the old one stays", "est.failed": "No new device certificate could be had; the old one stays",
  "est.trusted": "The authority of a certificate server was confirmed", "est.secret": "The secret for a certificate server was stored or wiped",
  "cert.expiring": "The device certificate runs out", "link.state": "Cloud connection changed",
  "link.deaf": "The cloud keeps the connection and brings nothing back", "link.alive": "The cloud brings messages back again",
  "list.gone": "A list of revoked certificates is gone",
  "link.lost": "Messages from the cloud came too fast and were lost", "link.budget": "Much of what the cloud connection may use in a month is used",
  "link.subscription_refused": "The cloud refused a subscription",
  "command.accepted": "A command from the cloud was carried out", "command.refused": "A command from the cloud was refused",
};

const factWords = [
  ["product", "Product"], ["model", "Model"], ["serial", "Serial number"], ["version", "Agent version"], ["booted_slot", "Running system"],
  ["link_detail", "Connection"], ["link_bytes", "Cloud traffic this month"], ["link_budget_percent", "Monthly budget used, %"], ["tpm_detail", "Security chip"], ["uptime_s", "Running for"], ["login_failures", "Wrong passwords in a row"],
];

const lampWords = {
  tpm_state: { READY: ["good", "Security chip ready"], OPENING: ["warn", "Security chip starting"], BUSY: ["warn", "Security chip busy"],
    LOCKED_OUT: ["bad", "Security chip locked"], ABSENT: ["bad", "No security chip"], CHANGED: ["bad", "Other security chip"], FAILED: ["bad", "Security chip failed"] },
  link_state: { online: ["good", "Cloud online"], offline: ["warn", "Cloud offline"], connecting: ["warn", "Cloud connecting"],
    waiting: ["warn", "Cloud waiting"], disabled: ["", "Cloud not used"] },
};

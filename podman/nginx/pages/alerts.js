// Lists what Alertmanager holds, the gravest first. Texts are set as text: an alert may quote what somebody sent.
"use strict";

const ORDER = ["critical", "warning"];

function cell(row, text) {
  const made = row.insertCell();
  made.textContent = text;
  return made;
}

function show(alerts) {
  const held = alerts.filter((alert) => alert.labels.severity !== "none");
  held.sort((a, b) => ORDER.indexOf(a.labels.severity) - ORDER.indexOf(b.labels.severity)
    || a.startsAt.localeCompare(b.startsAt));
  const table = document.querySelector("table");
  table.hidden = held.length === 0;
  table.tBodies[0].replaceChildren();
  for (const alert of held) {
    const row = table.tBodies[0].insertRow();
    cell(row, alert.labels.severity).className = alert.labels.severity;
    cell(row, new Date(alert.startsAt).toLocaleString());
    cell(row, alert.annotations.summary || alert.labels.alertname);
    cell(row, alert.annotations.runbook || "");
    cell(row, alert.status.state === "active" ? "sent" : "silenced");
  }
  document.getElementById("state").textContent =
    `${held.length} alerts as of ${new Date().toLocaleTimeString()}; it is asked each half minute.`;
}

async function ask() {
  try {
    const answer = await fetch("/alertmanager/api/v2/alerts", { headers: { Accept: "application/json" } });
    if (answer.status === 401) {
      location.reload();
      return;
    }
    if (!answer.ok) {
      throw new Error(`it answered ${answer.status}`);
    }
    show(await answer.json());
  } catch (error) {
    document.getElementById("state").textContent = `Alertmanager cannot be asked: ${error.message}`;
  }
}

ask();
setInterval(ask, 30000);

"use strict";
// Copies a value without showing it. Everything else on the pages works without a script.
for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const said = button.form.querySelector("[data-said]");
    button.disabled = true;
    try {
      const answer = await fetch("/secret/value", { method: "POST", body: new URLSearchParams(new FormData(button.form)), redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      await navigator.clipboard.writeText(await answer.text());
      said.textContent = "Copied.";
    } catch (e) {
      said.textContent = "It could not be copied. Reveal it to see why.";
    } finally {
      button.disabled = false;
    }
  });
}

"use strict";
// What makes the page quicker to use. All of it works without, by forms.
document.documentElement.classList.add("scripted");

// tags in a list are saved as soon as they are set
for (const form of document.querySelectorAll("form[data-saves]")) {
  const said = form.querySelector("[role=status]");
  let waiting = Promise.resolve();
  const save = async () => {
    said.textContent = "saving";
    said.className = "";
    const answer = await fetch(form.action, {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      headers: { "X-Page": "script" },
    }).catch(() => null);
    const told = answer === null ? { message: "no answer" } : await answer.json().catch(() => ({}));
    if (answer !== null && answer.ok) {
      for (const [name, value] of Object.entries(told)) form.elements[name].value = value;
      said.textContent = "saved";
      return;
    }
    said.textContent = told.message || "not saved";
    said.className = "bad";
  };
  form.addEventListener("change", () => { waiting = waiting.then(save); });
  form.addEventListener("submit", (event) => { event.preventDefault(); waiting = waiting.then(save); });
}

// sliders draw the planes anew
for (const form of document.querySelectorAll("form[data-planes]")) {
  let timer = 0;
  const draw = () => {
    const query = new URLSearchParams(new FormData(form));
    const shown = query.getAll("show");
    query.delete("show");
    const hidden = [...form.querySelectorAll("[name=show]")].map((box) => box.value).filter((id) => !shown.includes(id));
    for (const picture of document.querySelectorAll("[data-picture]")) {
      const own = new URLSearchParams(query);
      if (picture.dataset.picture === "layers") for (const id of shown) own.append("show", id);
      const moved = picture.getAttribute("href").split("?")[0] + "?" + own;
      if (picture.getAttribute("href") !== moved) picture.setAttribute("href", moved);
    }
    for (const id of hidden) query.append("hide", id);
    history.replaceState(null, "", location.pathname + "?" + query);
  };
  const later = () => { clearTimeout(timer); timer = setTimeout(draw, 80); };
  form.addEventListener("input", (event) => {
    const axis = event.target.dataset.axis;
    for (const twin of axis ? form.querySelectorAll("[data-axis]") : []) {
      if (twin.dataset.axis === axis && twin !== event.target) twin.value = event.target.value;
    }
    later();
  });
  form.addEventListener("submit", (event) => { event.preventDefault(); draw(); });
}

// what cannot be undone is asked twice
for (const form of document.querySelectorAll("form[data-ask]")) {
  form.addEventListener("submit", (event) => { if (!confirm(form.dataset.ask)) event.preventDefault(); });
}

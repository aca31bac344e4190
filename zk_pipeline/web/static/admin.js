// Keyboard and selection aids of the pages, all of which work without scripts too.
"use strict";

const search = document.getElementById("search");
const suggestions = document.getElementById("suggestions");
const isTyping = (target) => target.closest("input, select, textarea, [contenteditable]") !== null;

// The search: `/` focuses it, the arrow keys move through its suggestions, Escape closes them.
document.addEventListener("keydown", (event) => {
  if (!search || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !isTyping(event.target)) {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (search.form.contains(event.target)) {
    moveThroughSuggestions(event);
  }
});

const moveThroughSuggestions = (event) => {
  const places = [search, ...suggestions.querySelectorAll("a")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && places.length > 1) {
    event.preventDefault();
    places.at((places.indexOf(event.target) + step) % places.length).focus();
  } else if (event.key === "Escape") {
    suggestions.replaceChildren();
    search.focus();
  }
};

document.addEventListener("click", (event) => {
  if (search && !search.form.contains(event.target)) suggestions.replaceChildren();
});
search?.form.addEventListener("focusout", (event) => {
  if (event.relatedTarget && !search.form.contains(event.relatedTarget)) suggestions.replaceChildren();
});

// Forms with chosen rows: a checkbox for all of them, and their number.
for (const all of document.querySelectorAll("[data-choose-all]")) {
  const boxes = [...all.form.querySelectorAll("td input[type=checkbox]")];
  const number = all.form.querySelector("[data-chosen]");
  const show = () => {
    const chosen = boxes.filter((box) => box.checked).length;
    all.checked = chosen > 0 && chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
    number.textContent = `${chosen} selected`;
  };
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    show();
  });
  all.form.addEventListener("change", show);
  show();
}

// Forms: the browser's message about a field when it loses the focus, next to it, until its value is valid. Messages of the server stay.
let isPressed = false;
document.addEventListener("pointerdown", () => (isPressed = true), true);
for (const ends of ["pointerup", "pointercancel"]) document.addEventListener(ends, () => (isPressed = false), true);

const messageOf = (field) => (field.validity.patternMismatch && field.title) || field.validationMessage;

const showValidity = (field, isInvalid) => {
  const id = `${field.id}-invalid`;
  const others = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((one) => one && one !== id);
  let message = document.getElementById(id);
  if (!isInvalid) {
    message?.remove();
  } else {
    if (!message) {
      message = Object.assign(document.createElement("span"), { id, className: "error" });
      field.after(message);
    }
    message.textContent = messageOf(field);
    others.push(id);
  }
  const attributes = { "aria-describedby": others.join(" "), "aria-invalid": others.length ? "true" : "" };
  for (const [name, value] of Object.entries(attributes)) value ? field.setAttribute(name, value) : field.removeAttribute(name);
};

const isChecked = (field) => Boolean(field.id && field.willValidate && field.form?.matches("main form[method=post]"));

document.addEventListener("focusout", ({ target }) => {
  if (!isChecked(target)) return;
  const check = () => showValidity(target, target.matches(":user-invalid"));
  // A message moves the buttons below it: one that is being pressed is clicked first.
  if (isPressed) document.addEventListener("pointerup", () => setTimeout(check), { once: true, capture: true });
  else check();
});
document.addEventListener("input", ({ target }) => {
  if (isChecked(target) && target.validity.valid) showValidity(target, false);
});
document.addEventListener("invalid", ({ target }) => isChecked(target) && showValidity(target, true), true);

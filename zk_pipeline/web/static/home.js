// No refresh of the home page in a hidden window, nor while the focus is in it: the focus would be lost.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "home" && (document.hidden || event.target.contains(document.activeElement)))
    event.preventDefault();
});

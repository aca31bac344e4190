// Checks of every page: returns the problems as text.
() => {
  const problems = [];
  const short = (element) => element.outerHTML.slice(0, 160);
  const nameOf = (element) =>
    (element.getAttribute("aria-label") || "") +
    (element.labels ? [...element.labels].map((label) => label.textContent).join("") : "") +
    ["A", "BUTTON", "SUMMARY"].map((tag) => (element.tagName === tag ? element.textContent : "")).join("");
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a, summary"))
    if (!nameOf(field).trim()) problems.push(`without a name: ${short(field)}`);
  const names = {};
  for (const button of document.querySelectorAll("button, a")) {
    const key = nameOf(button).trim().replace(/\s+/g, " ");
    const does = button.tagName === "A" || !button.form ? `${button.href}` : button.form.action + [...button.form.elements]
      .filter((one) => one.type === "hidden").map((one) => one.value).join();
    if (button.tagName === "BUTTON" && names[key] && names[key] !== does) problems.push(`two buttons named ${key}`);
    if (button.tagName === "BUTTON") names[key] = does;
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((id, index) => ids.indexOf(id) !== index))) problems.push(`two ids ${id}`);
  if (document.querySelectorAll("h1").length !== 1) problems.push("not one h1");
  if (!document.documentElement.lang || !document.title) problems.push("no language or title");
  for (const table of document.querySelectorAll("table"))
    if (!table.querySelector("th")) problems.push(`table without heads: ${short(table)}`);
  for (const element of document.querySelectorAll("[style]:not([style=\"\"]), script:not([src]), [onclick]"))
    problems.push(`inline: ${short(element)}`);
  const overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (overflow > 0) problems.push(`wider than the window by ${overflow} px`);

  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = (channel) => { const c = channel / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const groundOf = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const ground = channels(getComputedStyle(one).backgroundColor);
      if (ground.length === 3 || ground[3] === 1) return ground;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.getClientRects().length) continue;
    const [one, other] = [luminance(channels(getComputedStyle(element).color)), luminance(groundOf(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(2)}: ${short(element)}`);
  }
  return [...new Set(problems)];
}

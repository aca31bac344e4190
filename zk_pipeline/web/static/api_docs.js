// Requests of the API reference, to this origin only, with the token of its field. The token is not stored.
(() => {
  const LONGEST = 50000; // characters of a response that are shown
  const token = document.getElementById("token");
  for (const hidden of document.querySelectorAll(".token, .try")) hidden.hidden = false;

  const requestOf = (form) => {
    let path = form.dataset.path;
    const query = new URLSearchParams();
    for (const field of form.querySelectorAll("[data-in]")) {
      if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
      else if (field.value) query.set(field.name, field.value);
    }
    const body = form.querySelector("textarea")?.value.trim();
    const headers = {};
    if (token.value.trim()) headers.Authorization = `Token ${token.value.trim()}`;
    if (body) headers["Content-Type"] = "application/json";
    const url = query.size ? `${path}?${query}` : path;
    return [url, { method: form.dataset.method, headers, body: body || undefined, credentials: "omit", redirect: "error" }];
  };

  const textOf = async (response) => {
    const kind = response.headers.get("content-type") || "";
    if (!/json|text/.test(kind)) return `${(await response.blob()).size} bytes of ${kind || "no type"}`;
    const text = await response.text();
    if (!kind.includes("json")) return text;
    try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
  };

  const show = (output, status, text) => {
    const line = document.createElement("p"), content = document.createElement("pre");
    line.textContent = status;
    content.textContent = text.length > LONGEST ? `${text.slice(0, LONGEST)}\n… ${text.length - LONGEST} more characters` : text;
    content.tabIndex = 0;
    output.replaceChildren(line, ...(text ? [content] : []));
    output.hidden = false;
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form === token.form) event.preventDefault();
    if (!form.dataset.path) return;
    event.preventDefault();
    const output = form.querySelector("output"), button = form.querySelector("button");
    button.disabled = true;
    try {
      const response = await fetch(...requestOf(form));
      show(output, `${response.status} ${response.statusText}`, await textOf(response));
    } catch (error) {
      show(output, "No response", String(error));
    } finally {
      button.disabled = false;
    }
  });
})();

// A page of another origin that tries to start a run, to report an asset, and to show the UI.
const given = new URLSearchParams(location.search);
const target = given.get("target"), query = given.get("query");
const graphql = `${target}/graphql?query=${encodeURIComponent(query)}`;
const json = JSON.stringify({query});

function frame(name) {
  const made = document.createElement("iframe");
  made.name = name;
  document.body.append(made);
  return made;
}

function form(method, enctype, fields) {
  const made = document.createElement("form"), name = `${method} ${enctype}`;
  frame(name);
  Object.assign(made, {method, enctype, action: graphql, target: name});
  for (const [key, value] of Object.entries(fields)) {
    const field = document.createElement("input");
    Object.assign(field, {type: "hidden", name: key, value});
    made.append(field);
  }
  document.body.append(made);
  made.submit();
}

function post(type, body, mode = "no-cors", url = graphql) {
  return fetch(url, {method: "POST", mode, body, headers: type ? {"Content-Type": type} : {}}).then(
    (answer) => answer.type, () => "failed");
}

async function socket() {
  const made = new WebSocket(`${target.replace("http", "ws")}/graphql`, "graphql-ws");
  while (made.readyState === WebSocket.CONNECTING) await fetch(location.href);
  return made.readyState === WebSocket.OPEN ? "open" : "refused";
}

async function attack() {
  new Image().src = graphql;
  frame("page").src = graphql;
  frame("ui").src = target;
  form("get", "application/x-www-form-urlencoded", {query});
  form("post", "application/x-www-form-urlencoded", {query});
  form("post", "multipart/form-data", {query});
  form("post", "text/plain", {[json.slice(0, -1) + ', "x": "']: '"}'});
  navigator.sendBeacon(graphql, json);
  navigator.sendBeacon(`${target}/report_asset_materialization/reported`);
  return {
    "no body": await post(null, undefined),
    "text": await post("text/plain", json),
    "text that looks like JSON": await post("text/plain; charset=application/json", json),
    "JSON": await post("application/json", json, "cors"),
    "report": await post(null, undefined, "no-cors", `${target}/report_asset_materialization/reported`),
    "socket": await socket(),
  };
}

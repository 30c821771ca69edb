"use strict";

// make builds an element; text is never parsed as markup.
function make(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else e.setAttribute(k, v);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

function headers() {
  const token = document.getElementById("token").value.trim();
  return token ? { Authorization: "Bearer " + token } : {};
}

const nameOf = (ref) => ref.split("/").pop();

// typeOf says in a few words what a schema admits.
function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return make("a", { href: "#schema-" + nameOf(schema.$ref) }, nameOf(schema.$ref));
  const type = [].concat(schema.type || "any").join(" or ");
  if (schema.items) return make("span", {}, "list of ", typeOf(schema.items));
  if (schema.additionalProperties && typeof schema.additionalProperties === "object") {
    return make("span", {}, "map of ", typeOf(schema.additionalProperties));
  }
  const extra = [];
  if (schema.format) extra.push(schema.format);
  if (schema.enum) extra.push(schema.enum.join(" | "));
  if (schema.minimum !== undefined) extra.push("≥ " + schema.minimum);
  if (schema.maximum !== undefined) extra.push("≤ " + schema.maximum);
  if (schema.pattern) extra.push(schema.pattern);
  return type + (extra.length ? " (" + extra.join(", ") + ")" : "");
}

function table(head, rows) {
  return make("table", {},
    make("thead", {}, make("tr", {}, ...head.map((h) => make("th", { scope: "col" }, h)))),
    make("tbody", {}, ...rows.map((r) => make("tr", {}, ...r.map((c) => make("td", {}, c))))));
}

function parameters(operation) {
  const list = operation.parameters || [];
  if (!list.length) return null;
  return table(["parameter", "in", "type", "what it is"], list.map((p) =>
    [make("code", {}, p.name), p.in, typeOf(p.schema), p.description || (p.schema && p.schema.description) || ""]));
}

function answers(operation) {
  return table(["answer", "what it is", "content"], Object.entries(operation.responses || {}).map(([status, r]) => {
    const content = make("span", {});
    for (const [type, media] of Object.entries(r.content || {})) {
      content.append(make("div", {}, make("code", {}, type), " ", typeOf(media.schema)));
    }
    return [status, r.description || "", content];
  }));
}

// trial lets one send a GET from the page.
function trial(path, operation) {
  const inputs = (operation.parameters || []).filter((p) => p.in !== "header").map((p) => {
    const input = make("input", { type: "text", spellcheck: "false" });
    return { p, input, label: make("p", {}, make("label", {}, p.name + " ", input)) };
  });
  const out = make("pre", { hidden: "", "aria-live": "polite" });
  const send = async () => {
    let target = path;
    const query = new URLSearchParams();
    for (const { p, input } of inputs) {
      if (p.in === "path") target = target.replace("{" + p.name + "}", encodeURIComponent(input.value));
      else if (input.value) query.set(p.name, input.value);
    }
    out.hidden = false;
    out.className = "";
    out.textContent = "…";
    try {
      const r = await fetch(target + (query.size ? "?" + query : ""), { headers: headers() });
      let text = await r.text();
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
      out.className = r.ok ? "" : "failed";
      out.textContent = r.status + " " + r.statusText + "\n" + text;
    } catch (e) {
      out.className = "failed";
      out.textContent = "No answer: " + e.message;
    }
  };
  return make("div", {}, ...inputs.map((i) => i.label), make("button", { type: "button", onclick: send }, "Send"), out);
}

function operation(path, method, o) {
  const body = o.requestBody && Object.values(o.requestBody.content || {})[0];
  return make("details", {},
    make("summary", {}, make("span", { class: "method" }, method.toUpperCase()), make("code", {}, path), " ", o.summary || ""),
    o.description ? make("p", {}, o.description) : null,
    parameters(o),
    body ? make("p", {}, "Body: ", typeOf(body.schema)) : null,
    answers(o),
    method === "get" ? trial(path, o) : null);
}

function schema(name, s) {
  const required = new Set(s.required || []);
  return make("details", { id: "schema-" + name },
    make("summary", {}, make("code", {}, name)),
    s.description ? make("p", {}, s.description) : null,
    table(["field", "type", "what it is"], Object.entries(s.properties || {}).map(([field, f]) =>
      [make("code", {}, field + (required.has(field) ? "" : "?")), typeOf(f), f.description || ""])));
}

async function load() {
  const about = document.getElementById("about");
  try {
    const r = await fetch("/openapi.json", { headers: headers() });
    if (!r.ok) throw new Error(r.status === 401 ? "reading needs a token here: fill it in" : "status " + r.status);
    const doc = await r.json();
    about.className = "";
    about.textContent = doc.info.description + " Version " + doc.info.version + ".";
    const operations = Object.entries(doc.paths || {}).sort().flatMap(([path, item]) =>
      Object.entries(item).map(([method, o]) => operation(path, method, o)));
    document.getElementById("operations").replaceChildren(...operations);
    const schemas = Object.entries((doc.components && doc.components.schemas) || {}).sort();
    document.getElementById("schemas").replaceChildren(...schemas.map(([name, s]) => schema(name, s)));
  } catch (e) {
    about.className = "failed";
    about.textContent = "The description could not be read: " + e.message;
  }
}

function reveal() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
}

document.getElementById("token").addEventListener("change", load);
addEventListener("hashchange", reveal);
load().then(reveal);

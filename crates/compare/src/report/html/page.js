"use strict";
// Shows the report. Everything from the data goes onto the page as text nodes and
// attributes set by name; no string is ever read as HTML.
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const app = document.getElementById("app");
  const SVG = "http://www.w3.org/2000/svg";
  const CLASSES = {
    confirmed: { sign: "\u25cf", hint: "more often than chance allows" },
    shape: { sign: "\u25c6", hint: "the field is of another type or kind of value" },
    new: { sign: "\u25b2", hint: "good answers never differ so, but not seen often enough to be sure, or noise not measured" },
    noise: { sign: "\u25cb", hint: "good answers differ so too" },
    note: { sign: "\u2013", hint: "not a difference in content" },
  };
  const VERDICTS = {
    same: { sign: "\u2713", word: "Same" },
    different: { sign: "\u2715", word: "Different" },
    unsure: { sign: "?", word: "Unsure" },
  };
  const MAX_PLOTS = 12;

  // --- making elements ---

  function fill(element, properties, children) {
    for (const [name, value] of Object.entries(properties || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      element.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return element;
  }
  const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
  const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

  // --- words ---

  const number = (n) => Number(n || 0).toLocaleString("en-US");
  const plural = (n, thing) => `${number(n)} ${thing}${n === 1 ? "" : "s"}`;
  function percent(part, whole) {
    if (!whole) return "0 %";
    const share = (part * 100) / whole;
    if (part === 0 || part === whole) return `${share.toFixed(0)} %`;
    if (share < 0.01) return "<0.01 %";
    if (share < 1 || share > 99) return `${Math.min(share, 99.99).toFixed(2)} %`;
    return `${share.toFixed(1)} %`;
  }
  function ms(value) {
    const size = Math.abs(value);
    if (size >= 10000) return `${(value / 1000).toFixed(1)} s`;
    if (size >= 100) return `${value.toFixed(0)} ms`;
    return size >= 1 ? `${value.toFixed(1)} ms` : `${value.toFixed(2)} ms`;
  }
  const signed = (value) => (value > 0 ? "+" : "") + ms(value);
  const sum = (counts) => Object.values(counts || {}).reduce((a, b) => a + b, 0);
  const each = (counts) => Object.entries(counts || {}).map(([name, n]) => `${name} ${number(n)}`).join(", ");
  const instant = (text) => (text || "").replace("T", " ").replace(/(\.\d+)?(Z|[+-]00:00)$/, " UTC");

  // --- the page ---

  let current = 0;
  const theme = { order: ["auto", "light", "dark"], at: 0 };

  function setTheme(name) {
    theme.at = Math.max(0, theme.order.indexOf(name));
    if (name === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", name);
    try { localStorage.setItem("umbra-theme", name); } catch { /* not kept, then */ }
  }
  try { setTheme(localStorage.getItem("umbra-theme") || "auto"); } catch { setTheme("auto"); }

  function themeSwitch() {
    const button = h("button", {
      class: "quiet", id: "theme", type: "button",
      onclick: () => { setTheme(theme.order[(theme.at + 1) % theme.order.length]); label(); },
    });
    const label = () => {
      const name = theme.order[theme.at];
      button.textContent = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" }[name];
    };
    label();
    return button;
  }

  const KEYS = [["/", "search"], ["j, k", "next and previous finding"], ["Enter", "open or close it"], ["Esc", "close it; in the search, clear"], ["?", "this list"]];
  const help = h("dialog", { id: "help", "aria-labelledby": "help-title" },
    h("h2", { id: "help-title" }, "Keys"),
    h("dl", { class: "keys" }, KEYS.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])),
    h("form", { method: "dialog" }, h("button", {}, "Close")));

  function page() {
    const target = report.targets[current];
    const facts = [
      ["Job", report.run ? `${report.job}, run ${report.run}` : report.job],
      ["Log", report.log],
      ["Window", span(report.window)],
      ["Sent", report.window && report.window.mode],
      ["Baseline", report.baseline === "recorded" ? "production, as recorded" : report.baseline],
      ["Noise", report.noise || "not measured"],
      ["Made", instant(report.created)],
    ].filter(([, value]) => value);
    app.replaceChildren(
      h("a", { class: "skip", href: "#findings" }, "Skip to the findings"),
      h("header", { class: "top" },
        h("p", { class: "brand" }, "Umbra", h("span", {}, "comparison")),
        h("div", { class: "tools" },
          h("button", { class: "quiet keys-button", type: "button", onclick: () => help.showModal() }, "Keys ", h("kbd", {}, "?")),
          themeSwitch())),
      h("main", {},
        report.targets.length > 1 && targetSwitch(),
        target ? shown(target) : h("h1", {}, "Nothing was compared"),
        h("section", { class: "about", "aria-labelledby": "about-title" },
          h("h2", { id: "about-title" }, "About this run"),
          h("dl", {}, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
          (report.notes || []).map((note) => h("p", { class: "remark" }, note)))),
      help);
  }

  function span(window) {
    if (!window || !(window.from || window.to)) return "";
    return [window.from && `from ${instant(window.from)}`, window.to && `to ${instant(window.to)}`].filter(Boolean).join(" ");
  }

  function targetSwitch() {
    return h("nav", { class: "targets", "aria-label": "Targets" },
      report.targets.map((target, at) => h("button", {
        type: "button", "aria-pressed": at === current, class: `verdict-${target.compare.verdict}`,
        onclick: () => { current = at; page(); document.querySelector(`.targets button:nth-child(${at + 1})`).focus(); },
      }, h("span", { class: "sign", "aria-hidden": true }, VERDICTS[target.compare.verdict].sign), ` ${target.name}`,
        h("span", { class: "sr" }, `: ${target.compare.verdict}`))));
  }

  function shown(target) {
    return [summary(target), findings(target), coverage(target), latency(target)];
  }

  // --- summary ---

  function summary(target) {
    const compare = target.compare;
    const verdict = VERDICTS[compare.verdict];
    const different = compare.different - compare.failed;
    const notCompared = sum(compare.not_compared);
    const parts = [
      ["equal", "Equal", compare.equal],
      ["different", "Different", different],
      ["failed", "Failed", compare.failed],
    ];
    return h("section", { class: "summary", "aria-labelledby": "verdict" },
      h("div", { class: `card verdict verdict-${compare.verdict}` },
        h("p", { class: "who" }, h("b", {}, target.name), target.url && ` ${target.url}`, ` against ${baseline()}`),
        h("h1", { id: "verdict" }, h("span", { class: "sign", "aria-hidden": true }, verdict.sign), verdict.word),
        h("p", { class: "because" }, sentence(target.because)),
        target.advice && h("p", { class: "advice" }, sentence(target.advice)),
        gate(target.gate),
        bar(parts, compare.compared),
        h("dl", { class: "numbers" },
          [["compared", "Compared", compare.compared], ...parts, ["not", "Not compared", notCompared]].map(([key, name, n]) =>
            h("div", { class: `n-${key}` }, h("dt", {}, name), h("dd", {}, number(n),
              key !== "compared" && key !== "not" && h("small", {}, percent(n, compare.compared)))))),
        notCompared > 0 && h("p", { class: "remark" }, `Not compared: ${each(compare.not_compared)}.`),
        course(target)),
      statuses(target));
  }

  const baseline = () => (report.baseline === "recorded" ? "production" : report.baseline);
  function sentence(text) {
    return text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "";
  }

  function course(target) {
    const parts = [];
    if (target.sent) parts.push(`${number(target.sent)} sent, ${number(target.answered)} answered`);
    if (sum(target.failed)) parts.push(`failed: ${each(target.failed)}`);
    if (sum(target.skipped)) parts.push(`skipped: ${each(target.skipped)}`);
    return parts.length > 0 && h("p", { class: "remark" }, sentence(parts.join("; ")));
  }

  function gate(gate) {
    if (!gate) return null;
    if (!gate.held.length) return h("p", { class: "gate passed" }, h("code", {}, `--fail-on ${gate.asked}`), " passed");
    return h("div", { class: "gate held" }, h("p", {}, h("code", {}, `--fail-on ${gate.asked}`), " failed"),
      h("ul", {}, gate.held.map((held) => h("li", {}, held))));
  }

  function bar(parts, whole) {
    const some = parts.filter(([, , n]) => n > 0);
    return h("div", {
      class: "bar", role: "img",
      "aria-label": parts.map(([, name, n]) => `${name} ${percent(n, whole)}`).join(", "),
    }, some.map(([key, , n]) => h("span", { class: `b-${key}`, style: `flex-grow:${Math.max(n / whole, 0.006)}` })));
  }

  function statuses(target) {
    const pairs = target.compare.statuses || [];
    if (!pairs.length) return null;
    const order = (a, b) => a.localeCompare(b, "en", { numeric: true });
    const rows = [...new Set(pairs.map((pair) => pair.expected))].sort(order);
    const columns = [...new Set(pairs.map((pair) => pair.actual))].sort(order);
    const count = new Map(pairs.map((pair) => [JSON.stringify([pair.expected, pair.actual]), pair.requests]));
    const off = pairs.filter((pair) => pair.expected !== pair.actual).reduce((n, pair) => n + pair.requests, 0);
    return h("div", { class: "card matrix" },
      h("h2", {}, "Statuses"),
      h("p", { class: "remark" }, off ? `${plural(off, "request")} answered with another status.` : "Every request was answered with the same status."),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Status matrix" },
        h("table", {},
          h("caption", { class: "sr" }, `Statuses of ${baseline()} (rows) against those of ${target.name} (columns)`),
          h("thead", {},
            h("tr", {}, h("td", {}), h("th", { colspan: columns.length, scope: "colgroup", class: "axis actual" }, target.name)),
            h("tr", {}, h("th", { scope: "col", class: "axis expected" }, baseline()), columns.map((name) => h("th", { scope: "col" }, name)))),
          h("tbody", {}, rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row), columns.map((column) => {
            const n = count.get(JSON.stringify([row, column])) || 0;
            const kind = n === 0 ? "none" : row === column ? "same" : "other";
            return h("td", { class: kind }, n === 0 ? "\u00b7" : number(n));
          })))))));
  }

  // --- findings ---

  const filter = { text: "", endpoint: "", field: "", classes: null };
  let list = [];

  function findings(target) {
    const all = target.compare.findings;
    const of = (name) => all.filter((finding) => finding.class === name).length;
    const grave = of("confirmed") + of("shape") + of("new");
    Object.assign(filter, { text: "", endpoint: "", field: "" });
    filter.classes = new Set(["confirmed", "shape", "new"]);
    list = all.map((finding, at) => ({ finding, at, hay: hay(finding, target), item: null }));
    const items = h("ol", { class: "findings", id: "list" });
    for (const entry of list) {
      entry.item = item(entry, target);
      items.append(entry.item);
    }
    const options = (values) => [...new Set(values)].sort((a, b) => a.localeCompare(b)).map((value) => h("option", { value }, value));
    const count = h("p", { class: "count", role: "status", id: "count" });
    const empty = h("p", { class: "empty", id: "empty" });
    const change = (key) => (event) => { filter[key] = event.target.value; apply(count, empty, grave); };
    const section = h("section", { id: "findings", "aria-labelledby": "findings-title", tabindex: -1 },
      h("div", { class: "heading" }, h("h2", { id: "findings-title" }, "Findings"), count),
      all.length > 0 && h("form", { class: "filters", role: "search", "aria-label": "Filter the findings", onsubmit: (event) => event.preventDefault() },
        h("label", { class: "search" }, h("span", {}, "Search ", h("kbd", {}, "/")),
          h("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", placeholder: "field, value, request id \u2026", oninput: change("text") })),
        h("label", {}, h("span", {}, "Endpoint"),
          h("select", { id: "endpoint", onchange: change("endpoint") }, h("option", { value: "" }, "All"), options(all.map((f) => f.endpoint)))),
        h("label", {}, h("span", {}, "Field"),
          h("select", { id: "field", onchange: change("field") }, h("option", { value: "" }, "All"), options(all.map((f) => f.field)))),
        h("fieldset", {}, h("legend", {}, "Class"), Object.keys(CLASSES).filter(of).map((name) =>
          h("label", { class: `chip c-${name}`, title: CLASSES[name].hint },
            h("input", { type: "checkbox", name: "class", value: name, checked: filter.classes.has(name), onchange: (event) => {
              if (event.target.checked) filter.classes.add(name); else filter.classes.delete(name);
              apply(count, empty, grave);
            } }),
            h("span", { class: "sign", "aria-hidden": true }, CLASSES[name].sign), name, h("small", {}, number(of(name))))))),
      items, empty,
      target.compare.findings_omitted > 0 && h("p", { class: "remark" }, `${plural(target.compare.findings_omitted, "more finding")}, less grave, not listed.`));
    apply(count, empty, grave);
    return section;
  }

  function hay(finding, target) {
    const examples = (finding.examples || []).flatMap((example) => {
      const exchange = target.exchanges[example.id];
      return [example.id, example.note, example.request, example.place, exchange && `${exchange.method} ${exchange.path}`];
    });
    return [finding.class, finding.endpoint, finding.field, finding.kind, finding.what, ...examples]
      .filter(Boolean).join("\n").toLowerCase();
  }

  function apply(count, empty, grave) {
    const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
    let visible = 0;
    for (const entry of list) {
      const { finding } = entry;
      const show = filter.classes.has(finding.class)
        && (!filter.endpoint || finding.endpoint === filter.endpoint)
        && (!filter.field || finding.field === filter.field)
        && words.every((word) => entry.hay.includes(word));
      entry.item.hidden = !show;
      visible += show ? 1 : 0;
    }
    count.textContent = visible === list.length ? plural(visible, "finding") : `${number(visible)} of ${plural(list.length, "finding")}`;
    empty.hidden = visible > 0;
    const untouched = !words.length && !filter.endpoint && !filter.field;
    empty.textContent = untouched && !grave ? "No difference beyond noise." : "Nothing matches the filter.";
  }

  function item(entry, target) {
    const { finding, at } = entry;
    const often = finding.b + finding.both;
    const detail = h("div", { class: "detail", id: `detail-${at}`, hidden: true });
    const button = h("button", {
      type: "button", class: "head", "aria-expanded": false, "aria-controls": `detail-${at}`,
      onclick: () => toggle(entry, target),
    },
      h("span", { class: `pill c-${finding.class}` }, h("span", { class: "sign", "aria-hidden": true }, CLASSES[finding.class].sign), finding.class),
      h("span", { class: "where" }, h("span", { class: "endpoint" }, finding.endpoint), what(finding)),
      h("span", { class: "seen" }, h("span", { class: "share" }, percent(often, finding.n)),
        h("span", { class: "meter", "aria-hidden": true }, h("span", { style: `width:${Math.min(100, (often * 100) / Math.max(1, finding.n))}%` })),
        h("span", { class: "of" }, `${number(often)} of ${number(finding.n)}`)));
    entry.button = button;
    entry.detail = detail;
    return h("li", { class: "finding", "data-class": finding.class }, h("h3", {}, button), detail);
  }

  // The field in its own type, the rest of the sentence around it.
  function what(finding) {
    const rest = finding.what.startsWith(finding.field) ? finding.what.slice(finding.field.length) : ` ${finding.kind}`;
    return h("span", { class: "what" }, h("code", {}, finding.field), rest);
  }

  function toggle(entry, target, open) {
    const now = open === undefined ? entry.detail.hidden : open;
    if (now && !entry.detail.hasChildNodes()) fill(entry.detail, {}, details(entry.finding, target));
    entry.detail.hidden = !now;
    entry.button.setAttribute("aria-expanded", now);
  }

  function details(finding, target) {
    const examples = finding.examples && finding.examples.length ? finding.examples : [finding.example].filter(Boolean);
    return [
      values(examples, target),
      exchange(finding, examples, target),
      h("div", { class: "foot" },
        h("div", {}, h("h4", {}, "How sure"), h("p", {}, sure(finding))),
        finding.ignore && h("div", {}, h("h4", {}, "If this is meant"), h("p", {}, "Silence it with"), copyable(`--ignore '${finding.ignore}'`))),
    ];
  }

  function sure(finding) {
    const numbers = `Only the target differs in ${number(finding.b)}, only the second good answer in ${number(finding.c)}, both in ${number(finding.both)} of ${plural(finding.n, "request")}. `;
    if (finding.class === "note") return `${numbers}Not a difference in content, so it is not tested.`;
    return `${numbers}By chance with p ${chance(finding.p)}, corrected for all fields q ${finding.chance}: ${CLASSES[finding.class].hint}.`;
  }
  function chance(p) {
    if (p >= 0.995) return "1";
    if (p >= 0.001) return p.toFixed(3);
    return p < 1e-12 ? "<1e-12" : p.toExponential(0);
  }

  function values(examples, target) {
    if (!examples.length) return null;
    const none = (value) => value === null || value === undefined;
    const side = (value) => (none(value) ? h("i", {}, "absent") : value === "" ? h("i", {}, "empty") : h("code", {}, value));
    if (examples.every((example) => none(example.expected) && none(example.actual))) {
      return h("ul", { class: "notes" }, examples.map((example) => h("li", {}, h("code", {}, example.note || "no value is shown"), example.id && h("small", {}, ` ${example.id}`))));
    }
    return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Examples" },
      h("table", { class: "values" },
        h("caption", { class: "sr" }, "Examples"),
        h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "axis expected" }, baseline()), h("th", { scope: "col", class: "axis actual" }, target.name), h("th", { scope: "col" }, "Request"))),
        h("tbody", {}, examples.map((example) => {
          const alone = none(example.expected) && none(example.actual);
          return h("tr", {},
            alone ? h("td", { colspan: 2 }, h("code", {}, example.note)) : [h("td", {}, side(example.expected)), h("td", {}, side(example.actual))],
            h("td", { class: "id" }, example.request && h("span", {}, example.request), example.place && h("span", {}, example.place), h("span", {}, example.id)));
        }))));
  }

  function exchange(finding, examples, target) {
    const example = examples.find((each) => target.exchanges[each.id]);
    if (!example) return null;
    const exchange = target.exchanges[example.id];
    return h("figure", { class: "exchange" },
      h("figcaption", {}, h("b", {}, exchange.method), " ", h("code", {}, exchange.path),
        h("small", {}, [example.id, instant(exchange.at)].filter(Boolean).join(" \u00b7 "))),
      h("table", { class: "diff", role: "table" },
        h("caption", { class: "sr" }, "Both answers side by side"),
        h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
          h("th", { scope: "col", role: "columnheader", class: "axis expected" }, baseline()),
          h("th", { scope: "col", role: "columnheader", class: "axis actual" }, target.name))),
        exchange.sections.map((section) => diffSection(section, marker(finding)))));
  }

  // Tells the lines that the finding is about from others that differ too.
  function marker(finding) {
    const field = finding.field;
    if (field === "status" || field === "failure") return (title) => title === "status";
    const [place, name] = [field.split(":")[0], field.slice(field.indexOf(":") + 1).split(";")[0]];
    const starts = (text, start) => text.trimStart().toLowerCase().startsWith(start);
    if (place === "header") return (title, line) => title === "headers" && starts(line, `${name}:`);
    if (place === "trailer") return (title, line) => title === "trailers" && starts(line, `${name}:`);
    if (place === "set-cookie") return (title, line) => title === "headers" && starts(line, `set-cookie: ${name.toLowerCase()}=`);
    const key = field.replace(/\[\]/g, "").split(".").slice(1).pop();
    return (title, line) => title === "body" && (key === undefined || starts(line, `"${key.toLowerCase()}":`));
  }

  function diffSection(section, isMeant) {
    const title = section.remark ? `${section.title} \u00b7 ${section.remark}` : section.title;
    return h("tbody", { role: "rowgroup" },
      h("tr", { role: "row", class: "part" }, h("th", { colspan: 2, scope: "rowgroup", role: "rowheader" }, title)),
      section.rows.map((row) => {
        if (row.k === "fold" || row.k === "more") {
          return h("tr", { role: "row", class: "fold" }, h("td", { colspan: 2, role: "cell" },
            row.k === "fold" ? plural(row.n, "equal line") : `${plural(row.n, "more line")} not shown`));
        }
        const meant = row.k !== "same" && [row.l, row.r].some((parts) => parts && isMeant(section.title, parts.join("")));
        return h("tr", { role: "row", class: meant ? `d-${row.k} meant` : `d-${row.k}` }, cell(row, row.l, "l", "del"), cell(row, row.r, "r", "ins"));
      }));
  }

  function cell(row, parts, side, mark) {
    if (!parts) return h("td", { role: "cell", class: `${side} none` }, h("span", { class: "sr" }, "absent"));
    const marked = row.k === "changed" || row.k === "missing" || row.k === "added";
    return h("td", { role: "cell", class: side }, parts[0], parts[1] && (marked ? h(mark, {}, parts[1]) : parts[1]), parts[2]);
  }

  function copyable(text) {
    const code = h("code", {}, text);
    const button = h("button", { type: "button", class: "quiet", onclick: async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
    } }, "Copy");
    return h("p", { class: "copy" }, code, button);
  }

  // --- coverage ---

  function coverage(target) {
    const endpoints = [...target.compare.endpoints];
    if (!endpoints.length) return null;
    const timed = endpoints.some((endpoint) => endpoint.latency);
    const not = endpoints.some((endpoint) => sum(endpoint.not_compared));
    const columns = [
      { name: "Endpoint", text: true, value: (e) => e.endpoint },
      { name: "Compared", value: (e) => e.compared },
      { name: "Different", value: (e) => e.different },
      { name: "Failed", value: (e) => e.failed },
      not && { name: "Not compared", value: (e) => sum(e.not_compared) },
      timed && { name: "p50", value: (e) => (e.latency ? e.latency.actual_p50_ms : -1) },
      timed && { name: "p99", value: (e) => (e.latency ? e.latency.actual_p99_ms : -1) },
    ].filter(Boolean);
    const body = h("tbody", {});
    const heads = columns.map((column) => h("th", { scope: "col", class: column.text ? "text" : "num" },
      h("button", { type: "button", onclick: () => sort(column) }, column.name)));
    let sorted = null, down = true;
    const sort = (column) => {
      down = sorted === column ? !down : !column.text;
      sorted = column;
      const order = (a, b) => {
        const [one, other] = [column.value(a), column.value(b)];
        const by = column.text ? one.localeCompare(other, "en", { numeric: true }) : one - other;
        return down ? -by : by;
      };
      body.replaceChildren(...endpoints.sort(order).map(row));
      columns.forEach((each, at) => heads[at].setAttribute("aria-sort", each === column ? (down ? "descending" : "ascending") : "none"));
    };
    const pair = (one, other) => [ms(one), h("span", { class: "arrow", "aria-label": "then" }, " \u2192 "), ms(other)];
    const row = (e) => h("tr", {},
      h("th", { scope: "row", class: "text" },
        h("button", { type: "button", class: "link", title: "Show its findings", onclick: () => only(e.endpoint) }, e.endpoint),
        bar([["equal", "Equal", e.equal], ["different", "Different", e.different - e.failed], ["failed", "Failed", e.failed]], e.compared)),
      h("td", { class: "num" }, number(e.compared)),
      h("td", { class: e.different ? "num" : "num zero" }, number(e.different)),
      h("td", { class: e.failed ? "num" : "num zero" }, number(e.failed)),
      not && h("td", { class: sum(e.not_compared) ? "num" : "num zero", title: each(e.not_compared) }, number(sum(e.not_compared))),
      timed && [["expected_p50_ms", "actual_p50_ms"], ["expected_p99_ms", "actual_p99_ms"]].map(([one, other]) =>
        h("td", { class: "num wide" }, e.latency ? pair(e.latency[one], e.latency[other]) : "\u00b7")));
    const section = h("section", { "aria-labelledby": "coverage-title" },
      h("div", { class: "heading" }, h("h2", { id: "coverage-title" }, "Coverage"), h("p", { class: "count" }, plural(endpoints.length, "endpoint"))),
      h("div", { class: "card scroll flush", tabindex: 0, role: "region", "aria-labelledby": "coverage-title" },
        h("table", { class: "coverage" }, h("thead", {}, h("tr", {}, heads)), body)));
    sort(columns[2]);
    return section;
  }

  function only(endpoint) {
    const select = document.getElementById("endpoint");
    if (select && [...select.options].some((option) => option.value === endpoint)) {
      select.value = endpoint;
      select.dispatchEvent(new Event("change"));
    }
    const title = document.getElementById("findings");
    title.scrollIntoView();
    title.focus({ preventScroll: true });
  }

  // --- latency ---

  const SHARES = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1];

  function latency(target) {
    const timed = target.compare.endpoints.filter((endpoint) => endpoint.latency)
      .sort((a, b) => Math.abs(b.latency.difference_ms / (b.latency.expected_p50_ms || 1)) - Math.abs(a.latency.difference_ms / (a.latency.expected_p50_ms || 1)));
    if (!timed.length) return null;
    const even = timed.every((endpoint) => endpoint.latency.same_load);
    const grid = h("div", { class: "plots" }, timed.slice(0, MAX_PLOTS).map((endpoint) => plot(endpoint, target)));
    const more = timed.length > MAX_PLOTS && h("button", { type: "button", class: "quiet", onclick: (event) => {
      grid.append(...timed.slice(MAX_PLOTS).map((endpoint) => plot(endpoint, target)));
      event.target.remove();
    } }, `Show ${timed.length - MAX_PLOTS} more`);
    return h("section", { "aria-labelledby": "latency-title" },
      h("div", { class: "heading" }, h("h2", { id: "latency-title" }, "Latency"),
        h("p", { class: "legend", "aria-hidden": true }, h("span", { class: "key expected" }, baseline()), h("span", { class: "key actual" }, target.name))),
      !even && h("p", { class: "caution" }, h("b", {}, "Not the same load. "), "The two were not asked side by side: the times compare the places as much as the versions."),
      grid, more);
  }

  function plot(endpoint, target) {
    const l = endpoint.latency;
    const certain = l.difference_low_ms > 0 ? "slower" : l.difference_high_ms < 0 ? "faster" : "no clear change";
    const text = `median ${ms(l.expected_p50_ms)} \u2192 ${ms(l.actual_p50_ms)}, 99th percentile ${ms(l.expected_p99_ms)} \u2192 ${ms(l.actual_p99_ms)}`;
    return h("figure", { class: "plot card" },
      h("figcaption", {}, h("b", {}, endpoint.endpoint),
        h("span", { class: `change ${certain.split(" ")[0]}` }, certain === "no clear change" ? certain : `${certain} by ${ms(Math.abs(l.difference_ms))}`)),
      curves(l, `${endpoint.endpoint}: ${text}`, target),
      h("p", { class: "remark" }, h("span", {}, `p50 ${ms(l.expected_p50_ms)} \u2192 ${ms(l.actual_p50_ms)}`), h("span", {}, `p99 ${ms(l.expected_p99_ms)} \u2192 ${ms(l.actual_p99_ms)}`),
        h("span", {}, `within pairs ${signed(l.difference_ms)} (${signed(l.difference_low_ms)} to ${signed(l.difference_high_ms)}), ${plural(l.pairs, "pair")}`),
        endpoint.streams && streams(endpoint.streams)));
  }

  function streams(streams) {
    const pair = (l) => `${ms(l.expected_p50_ms)} \u2192 ${ms(l.actual_p50_ms)}`;
    const parts = [`first byte p50 ${pair(streams.first_byte)}`];
    if (streams.between_events) parts.push(`between events p50 ${pair(streams.between_events)}`);
    return parts.map((part) => h("span", {}, part));
  }

  // Share of the answers (up) that took at most so long (right, logarithmic).
  function curves(l, label, target) {
    const [width, height, left, right, top, bottom] = [320, 150, 34, 10, 8, 22];
    const points = (values, p50, p99) => (Array.isArray(values) && values.length === SHARES.length && values.some((value) => value > 0)
      ? values.map((value, at) => [value, SHARES[at]]) : [[p50, 0.5], [p99, 0.99]]);
    const one = points(l.expected_ms, l.expected_p50_ms, l.expected_p99_ms);
    const other = points(l.actual_ms, l.actual_p50_ms, l.actual_p99_ms);
    const all = [...one, ...other].map(([value]) => Math.max(value, 0.01));
    const low = Math.log10(Math.min(...all) * 0.9), high = Math.log10(Math.max(...all) * 1.1);
    const x = (value) => left + ((Math.log10(Math.max(value, 0.01)) - low) / Math.max(high - low, 0.01)) * (width - left - right);
    const y = (share) => top + (1 - share) * (height - top - bottom);
    const path = (list) => list.map(([value, share], at) => `${at ? "L" : "M"}${x(value).toFixed(1)} ${y(share).toFixed(1)}`).join("");
    const ticks = [];
    for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
      for (const step of [1, 2, 5]) {
        const value = step * 10 ** power;
        const at = Math.log10(value);
        if (at >= low && at <= high) ticks.push(value);
      }
    }
    const shown = ticks.length > 5 ? ticks.filter((_, at) => at % Math.ceil(ticks.length / 5) === 0) : ticks;
    const tick = (value) => (value >= 1000 ? `${value / 1000} s` : `${Number(value.toPrecision(3))} ms`);
    return s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
      [0, 0.5, 0.9, 0.99].map((share) => [
        s("line", { class: "grid", x1: left, x2: width - right, y1: y(share), y2: y(share) }),
        share !== 0.99 && s("text", { x: left - 5, y: y(share) + 3, "text-anchor": "end" }, `${share * 100} %`)]),
      shown.map((value) => [
        s("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: height - bottom }),
        s("text", { x: Math.min(x(value), width), y: height - 7, "text-anchor": x(value) > width - 24 ? "end" : "middle" }, tick(value))]),
      s("path", { class: "line expected", d: path(one) }),
      s("path", { class: "line actual", d: path(other) }),
      [[one, "expected"], [other, "actual"]].map(([list, name]) => list.filter(([, share]) => share === 0.5 || share === 0.99)
        .map(([value, share]) => s("circle", { class: name, cx: x(value), cy: y(share), r: 3 }, s("title", {}, `${name === "expected" ? baseline() : target.name}: p${share * 100} ${ms(value)}`)))));
  }

  // --- keys ---

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const search = document.getElementById("search");
    const typing = event.target.matches && event.target.matches("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape") return escape(event, search);
    if (typing) return;
    if (event.key === "/" && search) { event.preventDefault(); search.focus(); search.select(); }
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "?") help.showModal();
  });

  function escape(event, search) {
    if (event.target === search) {
      if (search.value) { search.value = ""; search.dispatchEvent(new Event("input")); } else search.blur();
      event.preventDefault();
      return;
    }
    const entry = here() || list.find((entry) => !entry.detail.hidden);
    if (entry && !entry.detail.hidden) {
      toggle(entry, report.targets[current], false);
      entry.button.focus();
    }
  }

  const here = () => list.find((entry) => entry.item.contains(document.activeElement));
  function move(step) {
    const visible = list.filter((entry) => !entry.item.hidden);
    if (!visible.length) return;
    const at = visible.indexOf(here());
    const next = at < 0 ? (step > 0 ? 0 : visible.length - 1) : Math.min(Math.max(at + step, 0), visible.length - 1);
    visible[next].button.focus();
    visible[next].item.scrollIntoView({ block: "nearest" });
  }

  page();
})();

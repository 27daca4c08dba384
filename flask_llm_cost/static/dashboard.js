"use strict";

(function () {
  const root = document.documentElement;
  const find = (selector, within) => (within || document).querySelector(selector);

  // Theme: auto, light, dark, auto.

  const NEXT_THEME = { light: "dark", dark: "" };

  function nameTheme() {
    const button = find("#lc-theme");
    if (button) button.setAttribute("aria-label", "Colour theme: " + (root.dataset.theme || "auto"));
  }

  function switchTheme() {
    const current = root.dataset.theme;
    const next = current ? NEXT_THEME[current] : "light";
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    try {
      if (next) localStorage.setItem("llm-cost-theme", next);
      else localStorage.removeItem("llm-cost-theme");
    } catch (error) {
      // Storage may be forbidden; the theme then lasts as long as the page.
    }
    nameTheme();
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest("#lc-theme")) switchTheme();
  });

  // The chart's tooltip reads the data table beneath it: one source of truth, and it survives every swap.

  const SVG = "http://www.w3.org/2000/svg";
  const TIP_GAP = 8;

  function swatch(colour) {
    const svg = document.createElementNS(SVG, "svg");
    const rect = document.createElementNS(SVG, "rect");
    for (const element of [svg, rect]) {
      element.setAttribute("width", 10);
      element.setAttribute("height", 10);
    }
    svg.setAttribute("class", "lc-sw");
    rect.setAttribute("class", "c" + colour);
    svg.append(rect);
    return svg;
  }

  function tipTable(table, row) {
    const headings = table.tHead.rows[0].cells;
    const lines = document.createElement("table");
    [...row.cells].slice(1).forEach((cell, index) => {
      if (cell.dataset.zero !== undefined) return;
      const heading = headings[index + 1];
      const line = lines.insertRow();
      const name = line.insertCell();
      const value = line.insertCell();
      if (heading.dataset.colour !== undefined) name.append(swatch(heading.dataset.colour));
      name.append(heading.textContent);
      value.textContent = cell.textContent;
      value.className = "n";
    });
    return lines;
  }

  function placeTip(tip, figure, column) {
    const frame = figure.getBoundingClientRect();
    const target = find(".lc-hit", column).getBoundingClientRect();
    let x = target.right - frame.left + TIP_GAP;
    if (x + tip.offsetWidth > frame.width) x = target.left - frame.left - tip.offsetWidth - TIP_GAP;
    if (x < 0) x = Math.max(0, (frame.width - tip.offsetWidth) / 2);
    // Set through the CSSOM, which style-src 'self' allows.
    tip.style.transform = "translate(" + Math.round(x) + "px, 8px)";
  }

  function showTip(column) {
    const figure = column.closest("[data-chart]");
    const tip = find(".lc-tip", figure);
    const table = find(".lc-data table", figure);
    if (!tip || !table) return;
    const row = table.tBodies[0].rows[Number(column.dataset.i)];
    const title = document.createElement("b");
    title.textContent = row.cells[0].textContent;
    tip.replaceChildren(title, tipTable(table, row));
    tip.hidden = false;
    placeTip(tip, figure, column);
  }

  function hideTip(figure) {
    const tip = figure && find(".lc-tip", figure);
    if (tip) tip.hidden = true;
  }

  const columnOf = (event) => event.target.closest && event.target.closest(".lc-plot .lc-col");

  for (const name of ["pointerover", "focusin"]) {
    document.addEventListener(name, (event) => {
      const column = columnOf(event);
      if (column) showTip(column);
    });
  }
  document.addEventListener("pointerout", (event) => {
    const plot = event.target.closest && event.target.closest(".lc-plot");
    if (plot && !plot.contains(event.relatedTarget)) hideTip(plot.closest("[data-chart]"));
  });
  document.addEventListener("focusout", (event) => {
    const column = columnOf(event);
    if (column) hideTip(column.closest("[data-chart]"));
  });

  // Arrow keys, Home and End move along the columns; one of them is in the tab order.
  document.addEventListener("keydown", (event) => {
    const column = columnOf(event);
    if (!column) return;
    if (event.key === "Escape") {
      hideTip(column.closest("[data-chart]"));
      return;
    }
    const columns = [...column.ownerSVGElement.querySelectorAll(".lc-col")];
    const index = columns.indexOf(column);
    const target = columns[{ ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: columns.length - 1 }[event.key]];
    if (!target) return;
    event.preventDefault();
    column.setAttribute("tabindex", "-1");
    target.setAttribute("tabindex", "0");
    target.focus();
  });

  // htmx: event names of version 4 and of version 2.

  const on = (names, listener) => names.forEach((name) => document.addEventListener(name, listener));
  let focusNext = null;
  let typed = null;

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-focus], .lc-calls thead a");
    focusNext = link ? link.dataset.focus || "#" + link.id : null;
  });

  function responseOf(detail) {
    if (detail.ctx) {
      const response = detail.ctx.response;
      return { mark: response && response.headers && response.headers.get("X-LLM-Cost"), url: response && response.raw && response.raw.url };
    }
    const request = detail.xhr;
    return { mark: request && request.getResponseHeader("X-LLM-Cost"), url: request && request.responseURL };
  }

  // A login page must not be swapped into a panel: an answer that is not ours is navigated to.
  function keepOrLeave(event) {
    const answer = responseOf(event.detail);
    if (answer.mark !== "1") {
      event.preventDefault();
      if (event.detail.ctx === undefined) event.detail.shouldSwap = false;
      location.assign(answer.url || location.href);
      return;
    }
    const search = find("#lc-q");
    typed = search && document.activeElement === search ? { text: search.value, at: search.selectionStart } : null;
  }

  function settle() {
    const search = find("#lc-q");
    if (typed && search) {
      // What was typed while the answer was under way is kept; its own search follows.
      search.value = typed.text;
      search.focus({ preventScroll: true });
      search.setSelectionRange(typed.at, typed.at);
    } else if (focusNext) {
      const element = find(focusNext);
      if (element) {
        element.focus({ preventScroll: true });
        element.scrollIntoView({ block: "nearest" });
      }
    }
    typed = null;
    focusNext = null;
  }

  function toast(text) {
    const element = find("#lc-toast");
    if (!element) return;
    element.textContent = text;
    element.hidden = false;
    setTimeout(() => { element.hidden = true; }, 6000);
  }

  on(["htmx:before:swap", "htmx:beforeSwap"], keepOrLeave);
  on(["htmx:after:swap", "htmx:afterSwap"], settle);
  on(["htmx:error", "htmx:sendError", "htmx:timeout"], () => {
    toast("Could not reach the server. The figures shown may be out of date.");
  });

  // Optional refresh; it rests while the tab is hidden or a filter is being edited.

  const REFRESH_MS = 10000;

  function refresh() {
    const box = find("#lc-refresh");
    const form = find("#lc-filters");
    if (!box || !box.checked || !form || document.hidden || form.contains(document.activeElement)) return;
    window.htmx.trigger(form, "submit");
  }

  setInterval(refresh, REFRESH_MS);
  document.addEventListener("change", (event) => {
    if (event.target.id === "lc-refresh") window.htmx.trigger(find("#lc-filters"), "submit");
  });

  nameTheme();
})();

"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

  // Light or dark: as the system, until the reader chooses.
  const theme = document.querySelector("button.theme");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const nameTheme = () => { theme.textContent = isDark() ? "Light colours" : "Dark colours"; };
  const stored = (value) => {
    // Browsers may refuse storage to local files.
    try {
      if (value) localStorage.setItem("wbcstudy-theme", value);
      return localStorage.getItem("wbcstudy-theme");
    } catch { return null; }
  };
  if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    stored(root.dataset.theme);
    nameTheme();
  });
  dark.addEventListener("change", nameTheme);
  nameTheme();

  // Contents: always open next to the text, closed above it.
  const contents = document.querySelector(".contents details");
  const wide = window.matchMedia("(min-width: 70rem)");
  const fitContents = () => { contents.open = wide.matches; };
  wide.addEventListener("change", fitContents);
  fitContents();
  const entries = new Map(all(".contents > details > ul > li > a").map((link) => [link.hash.slice(1), link]));
  contents.addEventListener("click", (event) => {
    if (event.target.closest("a") && !wide.matches) contents.open = false;
  });
  const seen = new Set();
  const watch = new IntersectionObserver((changes) => {
    for (const change of changes) seen[change.isIntersecting ? "add" : "delete"](change.target.id);
    const here = [...entries.keys()].find((id) => seen.has(id));
    for (const [id, link] of entries) link.classList.toggle("here", id === here);
  }, { rootMargin: "-10% 0px -60% 0px" });
  for (const id of entries.keys()) watch.observe(document.getElementById(id));

  // Folded parts open for a link into them, and all of them for print.
  const openTarget = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let part = target; part; part = part.parentElement) if (part.localName === "details") part.open = true;
    target.scrollIntoView();
  };
  window.addEventListener("hashchange", openTarget);
  openTarget();
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    for (const part of folded) part.open = true;
  });
  window.addEventListener("afterprint", () => { for (const part of folded) part.open = false; });

  // Away from its study's folder, a page has no files to link to: only their names stay.
  if (!decodeURIComponent(location.pathname).endsWith(root.dataset.home)) {
    for (const link of all("main a[href]")) {
      const address = link.getAttribute("href");
      if (!/^(#|data:|https?:)/.test(address)) {
        const name = document.createElement("span");
        name.textContent = link.textContent;
        name.title = `In the folder of the study: ${decodeURIComponent(address).replace(/^(\.\.\/)+/, "")}`;
        link.replaceWith(name);
      }
    }
  }

  // A region that needs no scrolling is no stop of the tab key.
  const fitRegions = () => {
    for (const region of all(".scroll[role=region]")) {
      if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
      else region.removeAttribute("tabindex");
    }
  };
  window.addEventListener("resize", fitRegions);
  document.addEventListener("toggle", fitRegions, true);
  fitRegions();

  // Tables: a click on a head sorts by its column; text from A, numbers from the highest; the third click restores.
  // A number counts without its interval, unit and the paper's number below it. Cells without one are last.
  const textOf = (cell) =>
    [...cell.childNodes].filter((node) => !node.classList?.contains("quoted")).map((node) => node.textContent).join("").trim();
  const numberOf = (cell) => {
    if (cell.dataset.sort !== undefined) return cell.dataset.sort === "" ? NaN : Number(cell.dataset.sort);
    const match = textOf(cell).match(/^([<>]?)\s*([+\-\u2212]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)/i);
    if (!match) return NaN;
    const value = Number(match[2].replace("\u2212", "-").replaceAll(",", ""));
    return match[1] === "<" ? value * (1 - 1e-9) : value;
  };
  // Rows that belong together: a run and its error.
  const blocksOf = (body) => {
    const blocks = [];
    for (const row of body.rows) {
      if (row.classList.contains("group")) continue;
      if (row.classList.contains("error") && blocks.length) blocks.at(-1).push(row);
      else blocks.push([row]);
    }
    return blocks;
  };
  const sortTable = (table, column, direction) => {
    const index = column.cellIndex;
    for (const body of table.tBodies) {
      const blocks = (body.original ??= blocksOf(body));
      const keys = new Map(blocks.map((block) => [block, block[0].cells[index]]));
      const compare = (first, second) => {
        if (!column.numeric) {
          const [one, two] = [first, second].map((block) => textOf(keys.get(block)));
          if (!one || !two) return !one - !two;
          return direction * one.localeCompare(two, "en", { numeric: true });
        }
        const [one, two] = [first, second].map((block) => numberOf(keys.get(block)));
        if (Number.isNaN(one) || Number.isNaN(two)) return Number.isNaN(one) - Number.isNaN(two);
        return direction * (one - two);
      };
      const sorted = direction ? [...blocks].sort(compare) : blocks;
      body.append(...sorted.flat());
    }
    for (const head of all("[aria-sort]", table)) head.removeAttribute("aria-sort");
    if (direction) column.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  };
  for (const table of all("main table")) {
    const blocks = [...table.tBodies].flatMap(blocksOf);
    if (![...table.tBodies].some((body) => blocksOf(body).length > 2)) continue;
    for (const head of table.tHead.rows[table.tHead.rows.length - 1].cells) {
      const cells = blocks.map((block) => block[0].cells[head.cellIndex]).filter((cell) => cell && /[^\s\u2013]/.test(textOf(cell)));
      if (!head.textContent.trim() || !cells.length) continue;
      head.numeric = !head.classList.contains("text") && cells.filter((cell) => !Number.isNaN(numberOf(cell))).length * 2 > cells.length;
      const button = document.createElement("button");
      button.className = "sort";
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.numeric ? -1 : 1;
        const now = { ascending: 1, descending: -1 }[head.getAttribute("aria-sort")] ?? 0;
        sortTable(table, head, now === 0 ? first : now === first ? -first : 0);
      });
    }
  }
})();

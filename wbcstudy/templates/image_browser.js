(() => {
  "use strict";
  const source = document.getElementById("browser-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const get = (id) => document.getElementById("browser-" + id);
  const root = document.getElementById("image-browser");
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const values = Object.fromEntries([...digits].map((digit, index) => [digit, index]));
  const rgb = (name) => [1, 3, 5].map((start) => parseInt(data.colours[name].slice(start, start + 2), 16));
  const colours = Object.fromEntries(Object.keys(data.colours).map((name) => [name, rgb(name)]));
  const [CYTOPLASM, NUCLEUS, IGNORED] = [1, 2, 3];
  const ANY_TYPE = "", NO_TYPE = "\u0000";
  let listed = [], selected = 0;

  // As wbcstudy.reporting.image_browser.unpack_mask.
  function unpack(text, length) {
    const mask = new Uint8Array(length);
    let number = 0, factor = 1, end = 0;
    for (const digit of text) {
      const value = values[digit];
      number += factor * (value % 32);
      factor *= 32;
      if (value < 32) {
        const start = end;
        end += number >> 2;
        mask.fill(number & 3, start, end);
        number = 0;
        factor = 1;
      }
    }
    return mask;
  }

  // As wbcstudy.data.overlays: the outermost pixels of a region.
  function outline(mask, width, height, inside, line) {
    const edge = new Uint8Array(mask.length);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const k = y * width + x;
        if (!inside(mask[k])) continue;
        for (let step = 1; step <= line && !edge[k]; step++) {
          if ((x >= step && !inside(mask[k - step])) || (x + step < width && !inside(mask[k + step])) ||
              (y >= step && !inside(mask[k - step * width])) || (y + step < height && !inside(mask[k + step * width]))) edge[k] = 1;
        }
      }
    }
    return edge;
  }

  const isCell = (label) => label === CYTOPLASM || label === NUCLEUS;
  const isNucleus = (label) => label === NUCLEUS;

  function drawOutlines(pixels, mask, width, height, dashed) {
    const line = Math.min(width, height) >= 200 ? 2 : 1, dash = 4 * line;
    for (const [inside, name] of [[isCell, "cytoplasm"], [isNucleus, "nucleus"]]) {
      const edge = outline(mask, width, height, inside, line);
      for (let k = 0; k < edge.length; k++) {
        const gap = dashed && Math.floor(((k % width) + Math.floor(k / width)) / dash) % 2;
        if (edge[k] && !gap) pixels.set([...colours[name], 255], 4 * k);
      }
    }
  }

  function drawDifference(pixels, expert, predicted) {
    for (let k = 0; k < expert.length; k++) {
      const expected = isCell(expert[k]), added = isCell(predicted[k]) && expert[k] !== IGNORED;
      const name = expected && !added ? "missed" : !expected && added ? "added" :
        expected && added && expert[k] !== predicted[k] ? "confused" : "";
      if (name) pixels.set([...colours[name], 255], 4 * k);
    }
  }

  const network = () => Number(get("network").value);
  const layers = () => ({ expert: get("expert").checked, prediction: get("prediction").checked, difference: get("difference").checked });

  function draw(canvas, index) {
    const entry = data.cases[index], [width, height] = entry.size, shown = layers();
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d"), layer = context.createImageData(width, height);
    const packed = entry.masks[network()];
    const expert = unpack(entry.expert, width * height), predicted = packed ? unpack(packed, width * height) : null;
    if (shown.prediction && predicted) drawOutlines(layer.data, predicted, width, height, shown.expert);
    if (shown.expert) drawOutlines(layer.data, expert, width, height, false);
    // Last, so that no outline hides a wrong pixel.
    if (shown.difference && predicted) drawDifference(layer.data, expert, predicted);
    context.putImageData(layer, 0, 0);
    canvas.parentElement.classList.toggle("paled", shown.difference && Boolean(packed));
  }

  const region = () => Number(get("region").value);
  const diceOf = (index, which = network()) => (data.networks[which].dice[index] || [])[region()] ?? null;
  const format = (value) => (value === null || value === undefined ? "none" : value.toFixed(3));
  const typeOf = (index) => data.types[index] ?? "type unknown";

  function spread(index) {
    const scores = data.networks.map((_, which) => diceOf(index, which)).filter((value) => value !== null);
    return scores.length ? Math.max(...scores) - Math.min(...scores) : -1;
  }

  function choose() {
    const type = get("type").value, low = Number(get("low").value), high = Number(get("high").value);
    const kept = data.cases.map((_, index) => index).filter((index) => {
      const dice = diceOf(index);
      // An image without Dice is listed where no limit is set.
      const within = dice === null ? low <= 0 && high >= 1 : dice >= low && dice <= high;
      return within && (type === ANY_TYPE || (data.types[index] ?? NO_TYPE) === type);
    });
    const rising = (a, b) => (diceOf(a) ?? 2) - (diceOf(b) ?? 2) || a - b;
    const orders = {
      worst: rising,
      best: (a, b) => (diceOf(b) ?? -1) - (diceOf(a) ?? -1) || a - b,
      type: (a, b) => typeOf(a).localeCompare(typeOf(b)) || rising(a, b),
      spread: (a, b) => spread(b) - spread(a) || a - b,
      name: (a, b) => data.cases[a].id.localeCompare(data.cases[b].id, undefined, { numeric: true }),
    };
    return kept.sort(orders[get("sort").value]);
  }

  const waiting = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      waiting.unobserve(entry.target);
      const index = Number(entry.target.dataset.case), photo = entry.target.querySelector("img");
      if (!photo.src) photo.src = "data:image/webp;base64," + data.cases[index].photo;
      draw(entry.target.querySelector("canvas"), index);
    }
  }, { rootMargin: "200px" });

  function makeThumb(index) {
    const button = document.createElement("button"), frame = document.createElement("span");
    const photo = document.createElement("img"), text = document.createElement("small");
    [photo.width, photo.height] = data.cases[index].size;
    photo.alt = "";
    frame.append(photo, document.createElement("canvas"));
    text.textContent = `${data.cases[index].id}${data.types[index] ? ", " + data.types[index] : ""}: Dice ${format(diceOf(index))}`;
    button.type = "button";
    button.className = "browser-thumb";
    button.dataset.case = index;
    button.append(frame, text);
    button.addEventListener("click", () => select(index));
    return button;
  }

  function list() {
    listed = choose();
    get("wall").replaceChildren(...listed.map(makeThumb));
    const part = `${listed.length} of ${data.cases.length} images`;
    get("count").textContent = listed.length ? part : part + ". Choose another cell type or wider limits of Dice.";
    if (!listed.includes(selected) && listed.length) selected = listed[0];
    redraw();
  }

  function redraw() {
    for (const thumb of get("wall").children) waiting.observe(thumb);
    select(selected);
  }

  function select(index) {
    selected = index;
    const entry = data.cases[index], row = data.networks[network()], photo = get("photo");
    [photo.width, photo.height] = entry.size;
    photo.src = "data:image/webp;base64," + entry.photo;
    draw(get("canvas"), index);
    get("name").textContent = `${entry.id}${data.types[index] ? ", " + data.types[index] : ""}`;
    const list = (scores) => data.regions.map((name, k) => `${name} ${format((scores || [])[k])}`).join(", ");
    const several = row.trainings > 1;
    get("scores").textContent = several
      ? `${row.title}. Dice of this mask: ${list(row.own[index])}. Mean of ${row.trainings} trainings: ${list(row.dice[index])}.`
      : `${row.title}. Dice: ${list(row.dice[index])}.`;
    get("note").textContent = entry.masks[network()] ? "" : "The predicted mask of this network was not kept.";
    photo.alt = `Test image ${entry.id}, ${typeOf(index)}. ${get("scores").textContent}`;
    const position = listed.indexOf(index);
    get("previous").disabled = position <= 0;
    get("next").disabled = position < 0 || position >= listed.length - 1;
    for (const thumb of get("wall").children) {
      const current = Number(thumb.dataset.case) === index;
      thumb.setAttribute("aria-current", current);
      thumb.tabIndex = current || (position < 0 && thumb === get("wall").firstChild) ? 0 : -1;
      if (current) {
        const wall = get("wall"), top = thumb.offsetTop - wall.offsetTop;
        if (top < wall.scrollTop || top + thumb.offsetHeight > wall.scrollTop + wall.clientHeight) wall.scrollTop = top - 8;
      }
    }
    get("all").querySelector("tbody").replaceChildren(...data.networks
      .map((other, which) => [which, other])
      .sort(([a], [b]) => (diceOf(index, b) ?? -1) - (diceOf(index, a) ?? -1))
      .map(([which, other]) => {
        const line = document.createElement("tr"), cell = document.createElement("td"), button = document.createElement("button");
        button.type = "button";
        button.textContent = other.title;
        button.addEventListener("click", () => open(which, index, region()));
        cell.append(button);
        line.append(cell);
        for (const value of other.dice[index] || data.regions.map(() => null)) {
          const score = document.createElement("td");
          score.className = "number";
          score.textContent = format(value);
          line.append(score);
        }
        line.className = which === network() ? "current" : "";
        return line;
      }));
    for (const point of document.querySelectorAll(".points circle")) {
      point.classList.toggle("current", Number(point.dataset.case) === index && Number(point.dataset.network) === network());
    }
  }

  function open(which, index, wanted) {
    get("network").value = which;
    get("region").value = wanted;
    selected = index;
    listed = choose();
    if (!listed.includes(index)) {
      get("type").value = ANY_TYPE;
      get("low").value = 0;
      get("high").value = 1;
    }
    list();
  }

  function show() {
    // A folded section has to be opened before it can be scrolled to.
    for (let parent = root.parentElement; parent; parent = parent.parentElement) if (parent.tagName === "DETAILS") parent.open = true;
    get("viewer").scrollIntoView({ block: "start" });
    get("viewer").focus({ preventScroll: true });
  }

  function step(by) {
    const position = listed.indexOf(selected), next = listed[Math.max(0, Math.min(listed.length - 1, position + by))];
    if (next !== undefined) select(next);
  }

  // Points over the box plot: one stop of the tabulator, arrow keys within.
  function addPoints() {
    const photo = document.querySelector("#figure-scores img");
    if (!photo || !data.points.length) return;
    const frame = document.createElement("div"), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const ratio = photo.getAttribute("height") / photo.getAttribute("width") || 0.5;
    frame.style.cssText = "position: relative; display: inline-block; max-width: 100%; vertical-align: top";
    photo.replaceWith(frame);
    svg.setAttribute("class", "points");
    svg.setAttribute("viewBox", `0 0 1000 ${1000 * ratio}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", "Points of the figure; arrow keys move, Enter opens the image");
    const circles = data.points.map(([which, part, index, x, y]) => {
      const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle"), title = document.createElementNS("http://www.w3.org/2000/svg", "title");
      const dice = (data.networks[which].dice[index] || [])[part];
      title.textContent = `${data.cases[index].id}, ${data.networks[which].title}, ${data.regions[part]}: Dice ${format(dice)}`;
      for (const [name, value] of Object.entries({ cx: 1000 * x, cy: 1000 * ratio * y, r: 4.5, tabindex: -1, role: "button" })) circle.setAttribute(name, value);
      circle.setAttribute("aria-label", title.textContent);
      Object.assign(circle.dataset, { network: which, region: part, case: index });
      circle.append(title);
      return circle;
    });
    circles[0].setAttribute("tabindex", 0);
    // From left to right within a network and region.
    const order = circles.map((_, k) => k).sort((a, b) => {
      const [p, q] = [data.points[a], data.points[b]];
      return p[1] - q[1] || p[0] - q[0] || p[3] - q[3];
    });
    const row = (k) => data.points[k].slice(0, 2).join();
    const activate = (circle) => {
      open(Number(circle.dataset.network), Number(circle.dataset.case), Number(circle.dataset.region));
      show();
    };
    svg.addEventListener("click", (event) => {
      const circle = event.target.closest("circle");
      if (circle) activate(circle);
    });
    svg.addEventListener("keydown", (event) => {
      const now = circles.indexOf(event.target), position = order.indexOf(now);
      if (now < 0) return;
      let next = position;
      if (event.key === "Enter" || event.key === " ") activate(event.target);
      else if (event.key === "ArrowRight") next = Math.min(order.length - 1, position + 1);
      else if (event.key === "ArrowLeft") next = Math.max(0, position - 1);
      else if (event.key === "ArrowDown") next = order.findIndex((k, at) => at > position && row(k) !== row(now));
      else if (event.key === "ArrowUp") next = order.findLastIndex((k, at) => at < position && row(k) !== row(now));
      else return;
      event.preventDefault();
      if (next < 0 || next === position) return;
      event.target.setAttribute("tabindex", -1);
      circles[order[next]].setAttribute("tabindex", 0);
      circles[order[next]].focus();
    });
    svg.append(...circles);
    frame.append(photo, svg);
  }

  function fill(id, entries) {
    get(id).replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  }

  data.networks.forEach((row) => (row.missing = !data.cases.some((entry) => entry.masks[data.networks.indexOf(row)])));
  fill("network", data.networks.map((row, which) => [which, row.title + (row.name === data.best ? " (recommended)" : "") + (row.missing ? " (no masks kept)" : "")]));
  get("network").value = Math.max(0, data.networks.findIndex((row) => row.name === data.best));
  const types = [...new Set(data.types.filter((type) => type !== null))].sort();
  const number = (type) => data.types.filter((other) => (other ?? NO_TYPE) === type).length;
  const named = types.map((type) => [type, `${type} (${number(type)})`]);
  fill("type", [[ANY_TYPE, "all"], ...named, ...(number(NO_TYPE) && types.length ? [[NO_TYPE, `unknown (${number(NO_TYPE)})`]] : [])]);
  get("type-label").hidden = !types.length;
  fill("region", data.regions.map((name, k) => [k, name]));
  get("all").querySelector("thead tr").append(...data.regions.map((name) => Object.assign(document.createElement("th"), { textContent: name })));

  for (const id of ["network", "type", "sort", "region", "low", "high"]) get(id).addEventListener("input", list);
  for (const id of ["expert", "prediction", "difference"]) get(id).addEventListener("change", redraw);
  get("large").addEventListener("change", () => root.classList.toggle("large", get("large").checked));
  get("previous").addEventListener("click", () => step(-1));
  get("next").addEventListener("click", () => step(1));
  root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input[type=number]")) return;
    const layer = { e: "expert", p: "prediction", d: "difference", l: "large" }[event.key.toLowerCase()];
    if (layer) get(layer).click();
    const inWall = get("wall").contains(event.target);
    const by = { ArrowLeft: -1, ArrowRight: 1, ...(inWall && { ArrowUp: -columns(), ArrowDown: columns(), Home: -listed.length, End: listed.length }) }[event.key];
    if (by) {
      step(by);
      event.preventDefault();
      if (inWall) get("wall").querySelector('[aria-current="true"]')?.focus();
    }
  });

  function columns() {
    return getComputedStyle(get("wall")).gridTemplateColumns.split(" ").length;
  }

  // Not in the page: without JavaScript it would be an image without a source.
  get("canvas").before(Object.assign(new Image(), { id: "browser-photo" }));
  root.hidden = false;
  addPoints();
  list();
  select(listed[0] ?? 0);
})();

// Draws one explorer: controls from its JSON, panels as SVG, a sentence that says what is seen.
// The marks are those of llrnb/interactive/marks.py.
(() => {
  "use strict";
  const LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
  const [LEFT, RIGHT, TOP, BOTTOM] = [52, 10, 8, 40]; // margins of a panel, in pixels

  function node(parent, name, attributes = {}, text = "") {
    const drawn = name === "svg" || parent instanceof SVGElement;
    const space = `http://www.w3.org/${drawn ? "2000/svg" : "1999/xhtml"}`;
    const made = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== "") made.textContent = text;
    parent.append(made);
    return made;
  }

  const colour = (number) => (number < 0 ? "currentColor" : `var(--c${number})`);

  function word(value, form) {
    if (value === null || form === "") return value ?? "not finite";
    return form === "%" ? `${Math.round(100 * value)}%` : value.toExponential(1).replace("-", "−");
  }

  // From a value to a pixel between start and end.
  function scale(axis, start, end) {
    const f = axis.log ? Math.log10 : (v) => v;
    const [low, high] = [f(axis.low), f(axis.high)];
    return (v) => start + ((f(v) - low) / (high - low)) * (end - start);
  }

  // The points of a mark as pixels; null where a value is missing.
  const points = (mark, x, y, key = "y") =>
    mark.x.map((v, i) => (v === null || mark[key][i] === null ? null : [x(v), y(mark[key][i])]));

  const draw = {
    line(plot, mark, x, y) {
      let path = "";
      let pen = "M";
      for (const point of points(mark, x, y)) {
        if (point) path += pen + point.map((v) => v.toFixed(1)).join(" ");
        pen = point ? "L" : "M";
      }
      node(plot, "path", { d: path, fill: "none", stroke: colour(mark.colour),
        "stroke-width": mark.width, "stroke-dasharray": mark.dash ? "6 4" : "none" });
      if (mark.dots) draw.dots(plot, { ...mark, radius: 3 }, x, y);
    },
    band(plot, mark, x, y) {
      const [low, high] = ["low", "high"].map((key) => points(mark, x, y, key).filter(Boolean));
      const ink = { fill: colour(mark.colour), opacity: 0.22 };
      node(plot, "polygon", { points: [...low, ...high.reverse()].join(" "), ...ink });
    },
    dots(plot, mark, x, y) {
      points(mark, x, y).forEach((point, i) => {
        if (!point) return;
        const [cx, cy] = point;
        const r = Array.isArray(mark.radius) ? mark.radius[i] : mark.radius;
        const [stroke, shade] = [colour(mark.colour), mark.hollow ? 0 : 0.8];
        node(plot, "circle", { cx, cy, r, stroke, fill: stroke, "fill-opacity": shade });
      });
    },
    segments(plot, mark, x, y) {
      mark.x.forEach((v, i) => node(plot, "line", {
        x1: x(v), y1: y(mark.y[i]), x2: x(mark.to_x[i]), y2: y(mark.to_y[i]),
        stroke: colour(mark.colours[i]), "stroke-width": mark.widths[i], "stroke-linecap": "round",
      }));
    },
    labels(plot, mark, x, y) {
      mark.texts.forEach((text, i) => node(plot, "text", {
        x: x(mark.x[i]), y: y(mark.y[i]) + 4, "text-anchor": "middle" }, text));
    },
    heat(plot, mark, x, y) {
      [...mark.rows.join("")].forEach((character, index) => {
        const box = cell(mark, index, x, y);
        const level = LEVELS.indexOf(character) / 63;
        if (level < 0) {
          const d = `M${box.x} ${box.y + box.height}l${box.width} ${-box.height}`;
          node(plot, "path", { d, stroke: "currentColor", opacity: 0.35 });
        } else {
          const ink = { fill: colour(mark.colour), "fill-opacity": 0.05 + 0.95 * level };
          node(plot, "rect", { ...box, ...ink, "shape-rendering": "crispEdges" });
        }
      });
    },
    table(plot, mark, x, y) {
      mark.rows.forEach((row, i) => row.forEach((text, j) => {
        const box = { x: x(j), y: y(i), width: x(j + 1) - x(j), height: y(i + 1) - y(i) };
        const tint = mark.tints[i][j];
        if (tint >= 0) node(plot, "rect", { ...box, fill: colour(tint), opacity: 0.3 });
        node(plot, "text", { x: box.x + box.width / 2, y: box.y + box.height / 2 + 4,
          "text-anchor": "middle" }, text);
      }));
    },
  };

  // The rectangle of a cell of a heat map, in whole pixels, so that no gap shows.
  function cell(mark, index, x, y) {
    const [columns, rows] = [mark.rows[0].length, mark.rows.length];
    const [i, j] = [Math.floor(index / columns), index % columns];
    const at = ([low, high], part) => low + (high - low) * part;
    const [left, right] = [j, j + 1].map((k) => Math.round(x(at(mark.x, k / columns))));
    const [one, two] = [i, i + 1].map((k) => Math.round(y(at(mark.y, k / rows))));
    return { x: left, y: Math.min(one, two), width: right - left, height: Math.abs(two - one) };
  }

  // Where the points of a probed mark are, as centres in pixels.
  function places(mark, x, y) {
    if (mark.kind !== "heat") return points(mark, x, y);
    return [...mark.rows.join("")].map((_, index) => {
      const box = cell(mark, index, x, y);
      return [box.x + box.width / 2, box.y + box.height / 2];
    });
  }

  function unpacked(value, pool) {
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    if ("$" in value) return pool[value.$];
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, unpacked(v, pool)]));
  }

  function explorer(root) {
    const about = JSON.parse(root.querySelector("script").textContent);
    const pool = []; // in it {"$": 7} stands for an entry before
    for (const entry of about.pool) pool.push(unpacked(entry, pool));
    const bar = node(root, "div", { class: "controls" });
    const panels = node(root, "div", { class: "panels" });
    const readout = node(root, "p", { class: "readout", "aria-live": "polite" });
    const inputs = about.controls.map(build);
    const probes = about.probes.map((label) => build({ label, values: [], slider: true }));

    // A native control in its label; returns the control.
    function build(control) {
      const label = node(bar, "label", control.slider ? { class: "slider" } : {});
      const caption = node(label, "span", {}, control.label + (control.slider ? ": " : ""));
      if (!control.slider) {
        const select = node(label, "select");
        control.values.forEach((text, value) => node(select, "option", { value }, text));
        select.value = control.start;
        select.addEventListener("change", show);
        return select;
      }
      const input = node(label, "input", { type: "range", min: 0, step: 1 });
      input.caption = node(caption, "b");
      input.max = control.values.length - 1;
      input.texts = control.values;
      input.value = control.start ?? 0;
      input.addEventListener("input", show);
      if (control.play) addPlay(input);
      return input;
    }

    function addPlay(input) {
      const button = node(bar, "button", { type: "button" }, "▶ Play");
      let timer;
      const stop = () => {
        timer = clearInterval(timer);
        button.textContent = "▶ Play";
        readout.setAttribute("aria-live", "polite");
      };
      button.addEventListener("click", () => {
        if (timer) return stop();
        if (input.value === input.max) input.value = 0;
        readout.setAttribute("aria-live", "off"); // else every step would be read out
        button.textContent = "❚❚ Pause";
        timer = setInterval(() => {
          input.value = Number(input.value) + 1;
          if (input.value === input.max) stop();
          show();
        }, 250);
      });
      input.addEventListener("pointerdown", stop);
      input.addEventListener("keydown", stop);
    }

    // A choice is open if there is a state with it and those before; else take the first open.
    function limit() {
      let keys = Object.keys(about.states).map((key) => key.split(","));
      inputs.forEach((input, k) => {
        const open = new Set(keys.map((key) => key[k]));
        for (const option of input.options ?? []) option.disabled = !open.has(option.value);
        if (!open.has(input.value)) input.value = [...open][0];
        keys = keys.filter((key) => key[k] === input.value);
      });
    }

    // The sliders of the probes follow the mark that is shown.
    function aim(mark) {
      probes.forEach((input, k) => {
        const values = mark.probe.values[k];
        // A first aim, and a shorter range, end in the middle.
        if (input.max !== String(values.length - 1)) {
          input.max = values.length - 1;
          input.value = Math.floor((values.length - 1) / 2);
        }
        input.texts = values;
      });
      const [across, up] = [0, 1].map((k) => Number(probes[k]?.value ?? 0));
      return up * mark.probe.values[0].length + across;
    }

    function show() {
      limit();
      const [text, ...shown] = about.states[inputs.map((input) => input.value).join(",")];
      let note = "";
      panels.style.minHeight = `${panels.offsetHeight}px`; // so that the page does not jump
      panels.replaceChildren();
      const holders = shown.map(() => node(panels, "div", { class: "panel" })); // all, for widths
      shown.forEach((numbers, k) => {
        const [frame, ...marks] = numbers.map((number) => pool[number]);
        const probe = marks.find((mark) => mark.probe);
        const at = probe ? aim(probe) : -1;
        if (probe) {
          const { template, columns } = probe.probe;
          const filled = (_, k, form) => word(columns[k][at], form);
          note = " " + template.replace(/\{(\d+):?([e%]?)\}/g, filled);
        }
        panel(holders[k], frame, marks, probe, at, text);
      });
      for (const input of [...inputs, ...probes].filter((one) => one.caption)) {
        input.caption.textContent = input.texts[input.value];
        input.setAttribute("aria-valuetext", input.texts[input.value]);
      }
      readout.textContent = text + note;
      panels.style.minHeight = "";
    }

    function panel(holder, frame, marks, probe, at, text) {
      node(holder, "div", { class: "title" }, frame.title);
      const legend = node(holder, "div", { class: "legend" });
      for (const { kind, name, colour: ink, dash, hollow } of marks.filter((mark) => mark.name)) {
        const sign = { line: dash ? "╌" : "━", heat: "■" }[kind] ?? (hollow ? "○" : "●");
        const entry = node(legend, "span");
        node(entry, "span", { style: `color: ${colour(ink)}`, "aria-hidden": "true" }, sign + " ");
        entry.append(name);
      }
      const width = holder.clientWidth || 320;
      const left = frame.y.ticks.length ? LEFT : frame.y.label ? 22 : 4;
      const bottom = frame.x.ticks.length ? BOTTOM : frame.x.label ? 22 : 6;
      const side = frame.square ? Math.min(width - left - RIGHT, 320) : width - left - RIGHT;
      const [right, height] = [left + side, frame.square ? side + TOP + bottom : frame.height];
      const svg = node(holder, "svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img",
        "aria-label": `${frame.title}. ${text}` });
      const x = scale(frame.x, left, right);
      const y = scale(frame.y, height - bottom, TOP);
      const ink = { stroke: "currentColor", "stroke-opacity": 0.18 };
      for (const [value, label] of frame.x.ticks) {
        node(svg, "line", { x1: x(value), x2: x(value), y1: TOP, y2: height - bottom, ...ink });
        node(svg, "text", { x: x(value), y: height - bottom + 15, "text-anchor": "middle" }, label);
      }
      for (const [value, label] of frame.y.ticks) {
        node(svg, "line", { x1: left, x2: right, y1: y(value), y2: y(value), ...ink });
        node(svg, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, label);
      }
      const name = (label, px, py, turn) => node(svg, "text", { "text-anchor": "middle",
        transform: `translate(${px} ${py}) rotate(${turn})` }, label);
      name(frame.x.label, (left + right) / 2, height - 6, 0);
      name(frame.y.label, 12, (TOP + height - bottom) / 2, -90);
      // A picture in the picture, which cuts off what lies outside of the axes.
      const [across, up] = [right - left + 10, height - bottom - TOP + 10];
      const box = { x: left - 5, y: TOP - 5, width: across, height: up };
      const plot = node(svg, "svg", { ...box, viewBox: Object.values(box).join(" ") });
      for (const mark of marks) draw[mark.kind](plot, mark, x, y);
      if (!probe) return;
      const centres = places(probe, x, y);
      if (centres[at]) {
        const [cx, cy] = centres[at];
        const ring = { fill: "none", stroke: "var(--c1)", "stroke-width": 3 };
        if (probe.kind === "heat") node(plot, "rect", { ...cell(probe, at, x, y), ...ring });
        else node(plot, "circle", { cx, cy, r: 7, ...ring });
      }
      for (const kind of ["pointermove", "pointerdown"])
        svg.addEventListener(kind, (event) => find(event, svg, probe, centres, width));
    }

    // Move the probes to the point nearest to the pointer; nearest across is enough for a line.
    function find(event, svg, probe, centres, width) {
      const frame = svg.getBoundingClientRect();
      const zoom = width / frame.width;
      const [px, py] = [(event.clientX - frame.left) * zoom, (event.clientY - frame.top) * zoom];
      const far = centres.map((p) => (p ? Math.abs(p[0] - px) +
        (probe.kind === "heat" ? Math.abs(p[1] - py) : 0) : Infinity));
      const best = far.indexOf(Math.min(...far));
      const columns = probe.probe.values[0].length;
      const values = [best % columns, Math.floor(best / columns)];
      if (probes.every((input, k) => Number(input.value) === values[k])) return;
      probes.forEach((input, k) => (input.value = values[k]));
      show();
    }

    let width = 0; // a taller explorer is no reason to draw again
    new ResizeObserver(() => width !== (width = panels.clientWidth) && show()).observe(root);
    show();
  }

  for (const root of document.querySelectorAll(".explorer:not([data-ready])")) {
    root.dataset.ready = "";
    explorer(root);
  }
})();

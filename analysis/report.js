"use strict";
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const el = (name, attrs, text) => {
    const e = document.createElementNS(NS, name);
    for (const k in attrs) e.setAttribute(k, attrs[k]);
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const color = i => `var(--s${i % 6})`;
  const short = x => {
    const a = Math.abs(x);
    if (a >= 1e15 || (a > 0 && a < 1e-3)) return x.toExponential(1);
    for (const [u, s] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (a >= u) return +(x / u).toPrecision(3) + s;
    return String(+x.toPrecision(3));
  };
  const exact = x => String(+x.toPrecision(5));
  const ticks = (lo, hi, n) => {
    const raw = (hi - lo) / n || 1, p = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map(m => m * p).find(s => s >= raw * 0.999);
    const out = [];
    for (let t = Math.ceil(lo / step - 1e-9) * step; t <= hi + step * 1e-9; t += step) out.push(Math.abs(t) < step * 1e-9 ? 0 : t);
    return out;
  };

  function frame(fig, c, h) {
    const w = Math.max(260, fig.querySelector(".plot").clientWidth);
    const svg = el("svg", {viewBox: `0 0 ${w} ${h}`, role: "img", tabindex: 0, "aria-label": `${c.title}. ${c.text} The numbers are in the table below.`});
    fig.querySelector(".plot").replaceChildren(svg);
    return [svg, w];
  }

  function lines(fig, c, state) {
    const h = 290, L = 58, R = 14, T = 24, B = 40;
    const [svg, w] = frame(fig, c, h);
    const shown = c.series.map((s, i) => ({...s, i})).filter(s => !state.hidden.has(s.i));
    const f = y => state.log ? Math.log10(Math.max(y, 1e-30)) : y;
    const xs = shown.flatMap(s => s.x), ys = shown.flatMap(s => s.y.map(f));
    if (!xs.length) return;
    const x0 = xs.reduce((a, b) => Math.min(a, b)), x1 = xs.reduce((a, b) => Math.max(a, b));
    let y0 = ys.reduce((a, b) => Math.min(a, b)), y1 = ys.reduce((a, b) => Math.max(a, b));
    if (y0 === y1) { y0 -= 0.5; y1 += 0.5; }
    const X = x => L + (w - L - R) * (x - x0) / (x1 - x0 || 1), Y = y => h - B - (h - T - B) * (f(y) - y0) / (y1 - y0);
    for (const t of ticks(y0, y1, 5)) {
      const v = state.log ? 10 ** t : t, y = Y(v);
      svg.append(el("line", {x1: L, x2: w - R, y1: y, y2: y, class: "axis"}), el("text", {x: L - 6, y: y + 4, "text-anchor": "end"}, short(v)));
    }
    for (const t of ticks(x0, x1, w < 400 ? 3 : 6)) svg.append(el("text", {x: X(t), y: h - B + 16, "text-anchor": "middle"}, short(t)));
    svg.append(el("text", {x: (L + w - R) / 2, y: h - 6, "text-anchor": "middle"}, c.x), el("text", {x: 4, y: 14}, c.y));
    for (const s of shown) {
      const d = s.x.map((x, k) => `${k ? "L" : "M"}${X(x).toFixed(1)} ${Y(s.y[k]).toFixed(1)}`).join("");
      svg.append(el("path", {d, fill: "none", stroke: color(s.i), "stroke-width": 2, "stroke-dasharray": s.i < 6 ? ["", "7 3", "2 3", "9 3 2 3", "4 4", "12 3"][s.i] : "", class: "series"}));
      if (s.x.length < 3) s.x.forEach((x, k) => svg.append(el("circle", {cx: X(x), cy: Y(s.y[k]), r: 3, fill: color(s.i)})));
    }
    const cursor = el("line", {y1: T, y2: h - B, class: "axis", visibility: "hidden"});
    svg.append(cursor);
    const show = x => {
      const px = X(x);
      cursor.setAttribute("x1", px); cursor.setAttribute("x2", px); cursor.setAttribute("visibility", "visible");
      const near = s => s.x.reduce((best, v, k) => Math.abs(v - x) < Math.abs(s.x[best] - x) ? k : best, 0);
      fig.querySelector(".readout").textContent = `${c.x} ${exact(x)}: ` + shown.map(s => `${s.name} ${exact(s.y[near(s)])}`).join(", ");
    };
    svg.onpointermove = e => {
      const b = svg.getBoundingClientRect();
      show(Math.min(x1, Math.max(x0, x0 + ((e.clientX - b.left) * w / b.width - L) / (w - L - R) * (x1 - x0))));
    };
    let at = x1;
    svg.onkeydown = e => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[e.key];
      if (!step) return;
      at = Math.min(x1, Math.max(x0, at + step * (x1 - x0) / 40)); show(at); e.preventDefault();
    };
  }

  function bars(fig, c, state) {
    const L = 92, R = 60, row = 12, groups = c.rows.length, cols = c.cols.map((_, i) => i).filter(i => !state.hidden.has(i));
    const gap = 8, h = groups * (row * Math.max(1, cols.length) + gap) + 30;
    const [svg, w] = frame(fig, c, h);
    const top = Math.max(...c.values.flatMap(v => cols.map(i => v[i])), 1e-30);
    c.rows.forEach((name, g) => {
      const y = g * (row * cols.length + gap);
      svg.append(el("text", {x: L - 6, y: y + row * cols.length / 2 + 4, "text-anchor": "end"}, name));
      cols.forEach((i, k) => {
        const v = c.values[g][i], r = el("rect", {x: L, y: y + k * row, width: Math.max(0, (w - L - R) * v / top), height: row - 1, fill: color(i), class: "bar"});
        r.append(el("title", {}, `${name}, ${c.cols[i]}: ${exact(v)}`));
        r.onpointerenter = () => fig.querySelector(".readout").textContent = `${name}, ${c.cols[i]}: ${exact(v)}`;
        svg.append(r, el("text", {x: L + (w - L - R) * v / top + 4, y: y + k * row + 10}, short(v)));
      });
    });
    svg.append(el("text", {x: w - R, y: h - 6, "text-anchor": "end"}, c.y + ", by " + c.x));
  }

  function heat(fig, c) {
    const L = 74, B = 34, rows = c.rows.length, cols = c.cols.length;
    const width = Math.max(260, fig.querySelector(".plot").clientWidth);
    const cw = Math.min(64, (width - L - 4) / cols), ch = rows > 12 ? Math.min(14, cw) : 26, h = rows * ch + B;
    const [svg] = frame(fig, c, h);
    const all = c.values.flat(), lo = Math.min(...all), hi = Math.max(...all);
    c.values.forEach((line, i) => {
      if (rows <= 12 || i % 4 === 0) svg.append(el("text", {x: L - 6, y: i * ch + ch / 2 + 4, "text-anchor": "end"}, c.rows[i]));
      line.forEach((v, j) => {
        const p = hi > lo ? 100 * (v - lo) / (hi - lo) : 50;
        const r = el("rect", {x: L + j * cw, y: i * ch, width: cw - 1, height: ch - 1, class: "cell", style: `fill:color-mix(in srgb, var(--heat1) ${p.toFixed(0)}%, var(--heat0))`});
        r.append(el("title", {}, `${c.rows[i]}, ${c.cols[j]}: ${exact(v)}`));
        r.onpointerenter = () => fig.querySelector(".readout").textContent = `${c.rows[i]}, ${c.cols[j]}: ${exact(v)}`;
        svg.append(r);
      });
    });
    const every = Math.ceil(cols / Math.max(1, Math.floor((width - L) / 44)));
    c.cols.forEach((n, j) => j % every || svg.append(el("text", {x: L + j * cw + cw / 2, y: rows * ch + 14, "text-anchor": "middle"}, n)));
    svg.append(el("text", {x: L, y: h - 4}, hi > lo ? `${exact(lo)} (light) to ${exact(hi)} (strong)` : `${exact(lo)} everywhere`));
  }

  const draw = {lines, bars, heat};
  const redraw = [];
  for (const c of charts) {
    const fig = document.getElementById(c.id), state = {hidden: new Set(), log: false}, controls = fig.querySelector(".controls");
    const paint = () => draw[c.kind](fig, c, state);
    const names = c.kind === "lines" ? c.series.map(s => s.name) : c.kind === "bars" ? c.cols : [];
    names.forEach((name, i) => {
      const b = document.createElement("button"), dot = document.createElement("i");
      b.type = "button"; dot.style.background = color(i); b.append(dot, name); b.setAttribute("aria-pressed", "true");
      b.onclick = () => {
        state.hidden.has(i) ? state.hidden.delete(i) : state.hidden.add(i);
        b.setAttribute("aria-pressed", String(!state.hidden.has(i))); paint();
      };
      controls.append(b);
    });
    if (c.log_y) {
      const b = document.createElement("button");
      b.type = "button"; b.textContent = "log axis"; b.setAttribute("aria-pressed", "false");
      b.style.textDecoration = "none";
      b.onclick = () => { state.log = !state.log; b.setAttribute("aria-pressed", String(state.log)); paint(); };
      controls.append(b);
    }
    paint(); redraw.push(paint);
  }
  let timer;
  addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(() => redraw.forEach(f => f()), 150); });
})();

"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("chart-data").textContent);
  const dashes = {
    main: [], second: [2, 3], third: [7, 4], fourth: [9, 3, 2, 3], fifth: [4, 4], sixth: [1, 4], limit: [], budget: [7, 4], loss: [],
  };
  const widths = { main: 1.5, limit: 2, budget: 1.5 };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const pad = (n) => String(n).padStart(2, "0");
  const instant = (minute) => new Date(minute * 60000);
  const day = (d) => `${d.getUTCFullYear()}-${pad(d.getUTCMonth() + 1)}-${pad(d.getUTCDate())}`;
  const time = (d) => `${pad(d.getUTCHours())}:${pad(d.getUTCMinutes())}`;
  const usd = (v) => (v < 0 ? "-$" : "$") + Math.abs(v).toLocaleString("en-US", { maximumFractionDigits: 0 });
  const frac = (v) => `${(v * 100).toFixed(3)}%`;
  const writers = { usd, frac, number: (v) => String(Number(v.toPrecision(6))) };

  // A line that does not move still needs a scale; an unknown one has none of its own.
  function range(unit, min, max) {
    if (min == null) return [0, 1];
    if (min < max) return uPlot.rangeNum(min, max, 0.1, true);
    const room = unit === "usd" ? 1000 : 0.01;
    return [min - room, unit === "frac" ? max : max + room];
  }

  // Ticks stand on first bars of sessions while several are in view, and on round minutes within one.
  function ticks(chart) {
    const starts = chart.sessions;
    const sessionOf = (row) => {
      let k = starts.length - 1;
      while (k > 0 && starts[k][0] > row) k -= 1;
      return starts[k];
    };
    return {
      splits: (u, axis, min, max) => {
        const room = Math.max(2, Math.floor(u.width / 110));
        const inView = starts.map((s) => s[0]).filter((row) => row >= min && row <= max);
        if (inView.length > 2) {
          const step = Math.ceil(inView.length / room);
          return inView.filter((_, k) => k % step === 0);
        }
        const step = Math.max(5, Math.ceil((max - min) / room / 30) * 30);
        const rows = [];
        starts.forEach(([first, minute], k) => {
          const end = Math.min(max, k + 1 < starts.length ? starts[k + 1][0] - 1 : max);
          let row = first + step - (minute % step || step);
          while (row < min) row += step;
          for (; row <= end; row += step) rows.push(row);
        });
        return rows;
      },
      values: (u, splits) => {
        const isDaily = splits.length > 1 && splits.every((row) => sessionOf(row)[0] === row);
        return splits.map((row) => {
          const [first, minute] = sessionOf(row);
          const d = instant(minute + row - first);
          return isDaily ? day(d) : time(d);
        });
      },
    };
  }

  // Spans of REDUCING and HALTED: a tint, a hatch of its own direction, and the word where there is room.
  function drawSpans(u, found) {
    const { ctx, bbox } = u;
    const scale = devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const [start, stop, state] of found) {
      const left = u.valToPos(start, "x", true);
      const width = Math.max(u.valToPos(stop, "x", true) - left, scale);
      const lean = state === "HALTED" ? 1 : -1;
      ctx.save();
      ctx.beginPath();
      ctx.rect(left, bbox.top, width, bbox.height);
      ctx.clip();
      ctx.fillStyle = ctx.strokeStyle = colour(state.toLowerCase());
      ctx.globalAlpha = 0.1;
      ctx.fill();
      ctx.globalAlpha = 0.35;
      ctx.lineWidth = scale;
      ctx.beginPath();
      for (let x = left - bbox.height; x < left + width + bbox.height; x += 9 * scale) {
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x + lean * bbox.height, bbox.top + bbox.height);
      }
      ctx.stroke();
      ctx.globalAlpha = 1;
      ctx.font = `600 ${11 * scale}px system-ui, sans-serif`;
      if (ctx.measureText(state).width + 8 * scale < width) {
        ctx.textBaseline = "bottom";
        ctx.textAlign = "left";
        ctx.fillText(state, left + 4 * scale, bbox.top + bbox.height - 4 * scale);
      }
      ctx.restore();
    }
    ctx.restore();
  }

  // The limit and the budget say what they are: colour and dash alone would not.
  function drawNames(u, lines) {
    const scale = devicePixelRatio || 1;
    u.ctx.save();
    u.ctx.font = `600 ${11 * scale}px system-ui, sans-serif`;
    u.ctx.textBaseline = "bottom";
    u.ctx.textAlign = "left";
    lines.forEach((line, k) => {
      if (line.kind !== "limit" && line.kind !== "budget") return;
      const value = u.data[k + 1][0];
      u.ctx.fillStyle = colour(line.kind);
      if (value != null) u.ctx.fillText(line.label, u.bbox.left + 4 * scale, u.valToPos(value, "y", true) - 2 * scale);
    });
    u.ctx.restore();
  }

  // Signals by shape, not by colour alone: up is LONG, down is SHORT, a ring is FLAT.
  function drawMarks(u, marks) {
    const { ctx, bbox } = u;
    const r = 4 * (devicePixelRatio || 1);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const [row, value, side] of marks) {
      if (value == null) continue;
      const x = u.valToPos(row, "x", true);
      const y = u.valToPos(value, "y", true);
      const up = side === "LONG" ? -r : r;
      ctx.fillStyle = ctx.strokeStyle = colour(side === "LONG" ? "active" : side === "SHORT" ? "halted" : "text");
      ctx.beginPath();
      if (side === "FLAT") {
        ctx.arc(x, y, r * 0.75, 0, 2 * Math.PI);
        ctx.stroke();
      } else {
        ctx.moveTo(x - r, y - up);
        ctx.lineTo(x + r, y - up);
        ctx.lineTo(x, y + up);
        ctx.fill();
      }
    }
    ctx.restore();
  }

  function draw(chart) {
    const element = document.getElementById("chart-" + chart.id);
    const write = writers[chart.unit];
    const n = chart.row.length;
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
    const when = (u, v, s, k) => {
      const at = instant(chart.minute[k ?? n - 1]);
      return `${day(at)} ${time(at)}`;
    };
    // Without a cursor the legend reads the end of the run.
    const shown = (u, v, s, k) => {
      const value = k == null ? u.data[s][n - 1] : v;
      return value == null ? "unknown" : write(value);
    };
    const series = chart.lines.map((line) => ({
      label: line.label,
      stroke: colour(line.kind),
      dash: dashes[line.kind],
      width: widths[line.kind] ?? 1.2,
      fill: line.kind === "loss" ? colour("fill") : undefined,
      points: { show: n < 2 },
      value: shown,
    }));
    const plot = new uPlot({
      width: element.clientWidth,
      height: chart.height,
      scales: { x: { time: false }, y: { range: (u, min, max) => range(chart.unit, min, max) } },
      axes: [{ ...axis, ...ticks(chart) }, { ...axis, size: 84, values: (u, v) => v.map(write) }],
      series: [{ label: "Time", value: when }, ...series],
      cursor: { drag: { x: true, y: false }, sync: { key: "astra", scales: ["x", null] } },
      hooks: { drawClear: [(u) => drawSpans(u, chart.spans || [])], draw: [(u) => drawNames(u, chart.lines), (u) => drawMarks(u, chart.marks || [])] },
    }, [chart.row, ...chart.lines.map((line) => (Array.isArray(line.values) ? line.values : Array(n).fill(line.values)))], element);
    const fit = () => {
      if (element.clientWidth !== plot.width) plot.setSize({ width: element.clientWidth, height: chart.height });
    };
    new ResizeObserver(() => requestAnimationFrame(fit)).observe(element);
    return plot;
  }

  let plots = charts.map(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    plots.forEach((plot) => plot.destroy());
    plots = charts.map(draw);
  });
})();

// The charts of Statistics: this period as an area, the same a week ago as a dashed line, one cursor for all.
"use strict";
(() => {
  const charts = new Map();
  const resolve = (place, name, share) => {
    const probe = document.createElement("span");
    probe.style.color = share ? `color-mix(in srgb, var(${name}) ${share}%, transparent)` : `var(${name})`;
    place.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };
  const draw = (place) => {
    const [moments, now, before] = JSON.parse(place.dataset.series);
    const unit = place.dataset.unit;
    if (charts.has(place)) charts.get(place).destroy();
    const axis = { stroke: resolve(place, "--mute"), font: "11px DejaVu Sans, sans-serif", ticks: { show: false } };
    const words = (_, splits) => splits.map((value) => (value === null ? "" : `${value.toLocaleString("en")}${unit ? ` ${unit}` : ""}`));
    const few = moments.length < 3;
    const series = [
      {},
      { label: "this period", stroke: resolve(place, "--accent"), fill: resolve(place, "--accent", 12), width: 1.6, points: { show: few }, spanGaps: false },
    ];
    if (before.length) series.push({ label: "a week ago", stroke: resolve(place, "--mute"), dash: [4, 4], width: 1.2, points: { show: few } });
    const zone = document.body.dataset.zone;
    const clock = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" });
    const day = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "numeric", month: "short" });
    const times = (_, splits, __, ___, step) => splits.map((value) => (step < 86400 ? clock : day).format(value * 1000));
    charts.set(place, new window.uPlot({
      width: place.clientWidth,
      height: place.clientHeight,
      legend: { show: false },
      cursor: { sync: { key: "statistics" }, points: { size: 6 }, y: false, drag: { x: false, y: false } },
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), zone),
      scales: { y: { range: (_, low, high) => [0, unit === "%" ? 100 : Math.max(high === null ? 1 : high * 1.08, 1)] } },
      axes: [
        { ...axis, size: 22, gap: 4, space: 70, grid: { show: false }, values: times },
        { ...axis, size: 58, gap: 4, space: 28, grid: { stroke: resolve(place, "--line"), width: 1 }, values: words },
      ],
      series,
    }, before.length ? [moments, now, before] : [moments, now], place));
  };
  const places = () => [...document.querySelectorAll(".chart[data-series]")];
  const all = () => { if (window.uPlot) places().forEach(draw); };
  all();
  document.addEventListener("simrack:theme", all);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const chart = charts.get(target);
      const size = { width: target.clientWidth, height: target.clientHeight };
      if (chart && (chart.width !== size.width || chart.height !== size.height)) chart.setSize(size);
    }
  });
  places().forEach((place) => resized.observe(place));
})();

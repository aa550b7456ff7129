// The voice charts of one call: level once a second, one chart for each direction, with one cursor for both.
"use strict";
(() => {
  const places = [...document.querySelectorAll(".voice")];
  if (!places.length || !window.uPlot) return;
  const sync = window.uPlot.sync("voice");
  const clock = (value) => `${Math.floor(value / 60)}:${String(Math.floor(value % 60)).padStart(2, "0")}`;
  // Custom properties hold light-dark(); only a real property shows what it comes to.
  const resolve = (place, name, share) => {
    const probe = document.createElement("span");
    probe.style.color = share ? `color-mix(in srgb, var(${name}) ${share}%, transparent)` : `var(${name})`;
    place.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };
  const charts = new Map();
  const draw = (place) => {
    const levels = place.dataset.levels ? place.dataset.levels.split(",").map(Number) : [];
    if (!levels.length) {
      place.textContent = "No level was measured.";
      return;
    }
    if (charts.has(place)) charts.get(place).destroy();
    const line = resolve(place, "--line");
    const axis = { stroke: resolve(place, "--mute"), font: "11px DejaVu Sans, sans-serif", ticks: { show: false } };
    charts.set(place, new window.uPlot({
      width: place.clientWidth,
      height: place.clientHeight,
      legend: { show: false },
      cursor: { sync: { key: sync.key }, points: { size: 6 }, y: false, drag: { x: false, y: false } },
      scales: { x: { time: false }, y: { range: [-70, 0] } },
      axes: [
        { ...axis, size: 22, gap: 3, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 3600], grid: { show: false }, values: (_, splits) => splits.map(clock) },
        { ...axis, size: 50, gap: 4, grid: { stroke: line, width: 1 }, splits: [-60, -40, -20, 0], values: (_, splits) => splits.map((value) => `${value} dB`) },
      ],
      series: [
        {},
        {
          label: place.dataset.title,
          stroke: resolve(place, place.dataset.tone),
          fill: resolve(place, place.dataset.tone, 13),
          fillTo: -70,
          width: 1.3,
          points: { show: false },
        },
      ],
    }, [levels.map((_, index) => index), levels], place));
  };
  const all = () => places.forEach(draw);
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
  places.forEach((place) => resized.observe(place));
})();

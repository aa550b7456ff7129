// What every page with charts needs: drawn in the theme's colours, again when it changes, as large as their place.
"use strict";
window.simrackCharts = (selector, plot) => {
  if (!window.uPlot) return;
  const charts = new Map();
  const places = () => [...document.querySelectorAll(selector)];
  // Custom properties hold light-dark(); only a real property shows what it comes to.
  const resolve = (place) => (name, share) => {
    const probe = document.createElement("span");
    probe.style.color = share ? `color-mix(in srgb, var(${name}) ${share}%, transparent)` : `var(${name})`;
    place.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };
  const draw = (place) => {
    if (charts.has(place)) charts.get(place).destroy();
    const colour = resolve(place);
    const axis = { stroke: colour("--mute"), font: "11px DejaVu Sans, sans-serif", ticks: { show: false } };
    const [options, data] = plot(place, colour, axis);
    if (options) charts.set(place, new window.uPlot({ width: place.clientWidth, height: place.clientHeight, legend: { show: false }, ...options }, data, place));
  };
  const all = () => places().forEach(draw);
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
};

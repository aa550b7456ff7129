// The voice chart of one call: level of both directions, once a second.
"use strict";
(() => {
  const place = document.getElementById("voice");
  if (!place || !window.uPlot) return;
  const read = (text) => (text ? text.split(",").map(Number) : []);
  const to = read(place.dataset.to);
  const from = read(place.dataset.from);
  const length = Math.max(to.length, from.length);
  if (!length) {
    place.textContent = "No level was measured.";
    return;
  }
  const fill = (values) => Array.from({ length }, (_, index) => (index < values.length ? values[index] : null));
  const seconds = Array.from({ length }, (_, index) => index);
  const colour = (name) => getComputedStyle(place).getPropertyValue(name);
  // Custom properties may hold light-dark(); a real property shows what it comes to.
  const resolve = (name) => {
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    place.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value || colour(name);
  };
  const clock = (value) => `${Math.floor(value / 60)}:${String(Math.floor(value % 60)).padStart(2, "0")}`;
  let chart = null;
  const draw = () => {
    if (chart) chart.destroy();
    const mute = resolve("--mute");
    const line = resolve("--line");
    const axis = { stroke: mute, font: "11px DejaVu Sans, sans-serif", grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
    chart = new window.uPlot({
      width: place.clientWidth,
      height: 150,
      legend: { show: false },
      cursor: { points: { size: 6 } },
      scales: { x: { time: false }, y: { range: [-70, 0] } },
      axes: [
        { ...axis, size: 26, values: (_, splits) => splits.map(clock) },
        { ...axis, size: 52, values: (_, splits) => splits.map((value) => `${value} dB`) },
      ],
      series: [
        {},
        { label: "to the network", stroke: resolve("--accent"), width: 1.6, points: { show: false } },
        { label: "from the network", stroke: resolve("--good"), width: 1.6, points: { show: false } },
      ],
    }, [seconds, fill(to), fill(from)], place);
  };
  draw();
  document.addEventListener("simrack:theme", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(() => chart && chart.setSize({ width: place.clientWidth, height: 150 })).observe(place);
})();

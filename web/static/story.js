// The voice charts of one call: level once a second, one chart for each direction, with one cursor for both.
"use strict";
(() => {
  const clock = (value) => `${Math.floor(value / 60)}:${String(Math.floor(value % 60)).padStart(2, "0")}`;
  const plot = (place, colour, axis) => {
    const levels = place.dataset.levels ? place.dataset.levels.split(",").map(Number) : [];
    if (!levels.length) {
      place.textContent = "No level was measured.";
      return [];
    }
    return [{
      cursor: { sync: { key: "voice" }, points: { size: 6 }, y: false, drag: { x: false, y: false } },
      scales: { x: { time: false }, y: { range: [-70, 0] } },
      axes: [
        { ...axis, size: 22, gap: 3, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 3600], grid: { show: false }, values: (_, splits) => splits.map(clock) },
        { ...axis, size: 50, gap: 4, grid: { stroke: colour("--line"), width: 1 }, splits: [-60, -40, -20, 0], values: (_, splits) => splits.map((value) => `${value} dB`) },
      ],
      series: [
        {},
        {
          label: place.dataset.title,
          stroke: colour(place.dataset.tone),
          fill: colour(place.dataset.tone, 13),
          fillTo: -70,
          width: 1.3,
          points: { show: false },
        },
      ],
    }, [levels.map((_, index) => index), levels]];
  };
  window.simrackCharts(".voice", plot);
})();

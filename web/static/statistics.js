// The charts of Statistics: this period as an area, the same a week ago as a dashed line, one cursor for all.
"use strict";
(() => {
  const plot = (place, colour, axis) => {
    const [moments, now, before] = JSON.parse(place.dataset.series);
    const unit = place.dataset.unit;
    const words = (_, splits) => splits.map((value) => (value === null ? "" : `${value.toLocaleString("en")}${unit ? ` ${unit}` : ""}`));
    const few = moments.length < 3;
    const series = [
      {},
      { label: "this period", stroke: colour("--accent"), fill: colour("--accent", 12), width: 1.6, points: { show: few }, spanGaps: false },
    ];
    if (before.length) series.push({ label: "a week ago", stroke: colour("--mute"), dash: [4, 4], width: 1.2, points: { show: few } });
    const zone = document.body.dataset.zone;
    const clock = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" });
    const day = new Intl.DateTimeFormat("en-GB", { timeZone: zone, day: "numeric", month: "short" });
    const times = (_, splits, __, ___, step) => splits.map((value) => (step < 86400 ? clock : day).format(value * 1000));
    return [{
      cursor: { sync: { key: "statistics" }, points: { size: 6 }, y: false, drag: { x: false, y: false } },
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), zone),
      scales: { y: { range: (_, low, high) => [0, unit === "%" ? 100 : Math.max(high === null ? 1 : high * 1.08, 1)] } },
      axes: [
        { ...axis, size: 28, gap: 8, space: 70, grid: { show: false }, values: times },
        { ...axis, size: 58, gap: 4, space: 28, grid: { stroke: colour("--line"), width: 1 }, values: words },
      ],
      series,
    }, before.length ? [moments, now, before] : [moments, now]];
  };
  window.simrackCharts(".chart[data-series]", plot);
})();

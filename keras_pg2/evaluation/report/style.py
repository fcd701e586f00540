"""The look of the page: readable on a desk and on a phone, light and dark."""

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b2330;
  --soft: #5d6878; --rule: #dfe3e9; --accent: #2563c9; --fill: #bcd2f5;
  --good: #1d8a4e; --bad: #c2362f; --other: #d97706;
  --c0: #2563c9; --c1: #d97706; --c2: #1d8a4e; --c3: #b0359c; --c4: #0e8f9c;
  --c5: #8a6d1d; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --card: #1b212a;
  --ink: #e6eaf0; --soft: #98a3b3; --rule: #303844; --accent: #6ea3f7;
  --fill: #2d4a78; --good: #4cc284; --bad: #f0776f; --other: #f0a848;
  --c0: #6ea3f7; --c1: #f0a848; --c2: #4cc284; --c3: #e285d2; --c4: #4fc6d2;
  --c5: #d1b45c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 34px 0 12px; }
p { margin: 0 0 10px; } .soft { color: var(--soft); }
.soft, td, dd, figcaption { overflow-wrap: anywhere; }
section.card, .plots figure, article { background: var(--card);
  border: 1px solid var(--rule); border-radius: 10px; }
section.card { padding: 16px 18px; }
.headline { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 18px; }
.headline > div { background: var(--card); border: 1px solid var(--rule);
  border-radius: 10px; padding: 14px 18px; flex: 1 1 210px; }
.headline b { display: block; font-size: 2.1rem; line-height: 1.15;
  font-variant-numeric: tabular-nums; letter-spacing: -0.01em; }
.headline small { color: var(--soft); display: block; overflow-wrap: anywhere; }
.headline b small { display: inline; font-size: 1rem; font-weight: 400; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.94rem; }
th, td { text-align: left; padding: 7px 14px 7px 0; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
tr:last-child td, tr:last-child th { border-bottom: 0; }
th:last-child, td:last-child { padding-right: 0; }
th { font-weight: 600; } thead th { color: var(--soft); font-weight: 500;
  font-size: 0.84rem; white-space: nowrap; }
.num { font-variant-numeric: tabular-nums; white-space: nowrap; }
.plots { display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
.plots figure { margin: 0; padding: 12px 14px; max-width: 560px; }
figcaption { font-size: 0.88rem; color: var(--soft); margin-bottom: 4px; }
svg.plot { width: 100%; height: auto; display: block; }
svg.bar { width: 160px; height: 18px; display: block; }
svg text { fill: var(--soft); font-size: 11.5px; } svg .label { font-size: 12.5px; }
svg .grid { stroke: var(--rule); } svg rect.bar { fill: var(--fill); }
@media (max-width: 480px) { table { font-size: 0.86rem; } svg.bar { display: none; }
  th, td { padding-right: 9px; }
  svg.plot text, svg.plot .label { font-size: 14px; } }
svg .ideal { fill: none; stroke: var(--soft); stroke-dasharray: 4 4; }
svg .line { fill: none; stroke-width: 2; } svg .dot { fill: var(--accent); }
svg .interval { stroke: var(--fill); stroke-width: 7; stroke-linecap: round; }
svg .published { stroke: var(--other); stroke-width: 3; }
.c0 { stroke: var(--c0); background: var(--c0); }
.c1 { stroke: var(--c1); background: var(--c1); }
.c2 { stroke: var(--c2); background: var(--c2); }
.c3 { stroke: var(--c3); background: var(--c3); }
.c4 { stroke: var(--c4); background: var(--c4); }
.c5 { stroke: var(--c5); background: var(--c5); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 14px;
  margin: 4px 0; padding: 0; font-size: 0.84rem; overflow-wrap: anywhere; }
.legend i { display: inline-block; width: 16px; height: 4px; border-radius: 2px;
  margin-right: 6px; vertical-align: middle; }
.examples { display: grid; gap: 14px; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(250px, 100%), 1fr)); }
article { overflow: hidden; font-size: 0.92rem; }
.examples.wide {
  grid-template-columns: repeat(auto-fill, minmax(min(380px, 100%), 1fr)); }
.pictures { display: flex; gap: 2px; background: var(--rule); }
.pictures > * { flex: 1 1 0; min-width: 0; margin: 0; background: var(--card); }
.pictures img { display: block; width: 100%; height: auto; max-height: 320px;
  object-fit: contain; image-rendering: auto; background: var(--page); }
.pictures figcaption { padding: 2px 8px; margin: 0; font-size: 0.78rem; }
.missing { padding: 26px 12px; text-align: center; color: var(--soft);
  font-size: 0.84rem; overflow-wrap: anywhere; }
article dl { margin: 0; padding: 10px 14px 12px; display: grid; gap: 2px 10px;
  grid-template-columns: auto 1fr; }
dt { color: var(--soft); font-size: 0.84rem; padding-top: 1px; } dd { margin: 0;
  white-space: pre-wrap; }
.right { color: var(--good); } .wrong { color: var(--bad); }
"""

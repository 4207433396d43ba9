"""Style: how a page looks, on paper, on a phone, light and dark."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1a1a1a;--dim:#5c5c5c;--paper:#fff;--line:#d8d8d8;
--good:#0072b2;--warn:#a15c00;--bad:#b83c00}
@media(prefers-color-scheme:dark){:root{--ink:#ececec;--dim:#a8a8a8;--paper:#151515;--line:#3c3c3c;
--good:#56b4e9;--warn:#e69f00;--bad:#ff8c4a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1rem;background:var(--paper);color:var(--ink);
font:16px/1.45 system-ui,sans-serif}
h1{font-size:1.45rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .4rem}h3{font-size:1rem}
.dim{color:var(--dim)}.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.verdict{font-weight:600}.banner{border:2px solid var(--warn);padding:.4rem .8rem}
.wide{overflow-x:auto}.score{font-size:2.2rem;font-weight:600}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .4rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{vertical-align:bottom}th:first-child,td:first-child,.left{text-align:left}.left{white-space:normal}
figure{margin:1rem 0}figure svg{width:100%;height:auto;max-width:46rem;display:block}
figcaption{color:var(--dim);font-size:.9rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid var(--line);
padding-left:.6rem;margin:.3rem 0}
details{margin:.4rem 0}summary{cursor:pointer}
@media print{body{max-width:none}figure{break-inside:avoid}}
"""

"""The style sheet of the page. Contrast of text is at least 4.5 : 1 in both colour schemes."""

CSS = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d5dae0;--card:#f6f8fa;
--s0:#0b5cad;--s1:#b34700;--s2:#1a7f37;--s3:#8250df;--ok:#116329;--bad:#b01025;--inside:#fff;
--trial:#8c959f}
@media (prefers-color-scheme:dark){:root{--bg:#0f1318;--fg:#e6e9ed;--soft:#a3adb8;--line:#333b45;
--card:#181e26;--s0:#6cb6ff;--s1:#f0a35e;--s2:#6bc46d;--s3:#c8a1ff;--ok:#6bc46d;--bad:#ff8b82;
--inside:#0f1318;--trial:#768390}}
*{box-sizing:border-box}
body{margin:0 auto;padding:16px;max-width:1080px;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
h1{font-size:1.5rem;line-height:1.25;margin:.4em 0}
h2{font-size:1.15rem;margin:2em 0 .5em;padding-bottom:.2em;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:.2em 0 .6em}
p{margin:.5em 0}.soft,caption,figcaption,.note{color:var(--soft)}
.note{display:block;font-size:.85em}
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:16px}
.card,figure{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;
margin:0;min-width:0}
figcaption{font-size:.9rem;margin-bottom:6px}
figure.wide{max-width:600px}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{fill:var(--fg);font:13px system-ui,"Liberation Sans",sans-serif}
svg text.label{fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}
.line{fill:none;stroke-width:2}
.line.s0{stroke:var(--s0)}.line.s1{stroke:var(--s1);stroke-dasharray:7 3}
.line.s2{stroke:var(--s2);stroke-dasharray:2 3}.line.s3{stroke:var(--s3);stroke-dasharray:9 3 2 3}
.dot.s0,.part.s0{fill:var(--s0)}.dot.s1,.part.s1{fill:var(--s1)}
.dot.s2,.part.s2{fill:var(--s2)}.dot.s3,.part.s3{fill:var(--s3)}
.band{fill:var(--s1);opacity:.18}
.trial{fill:var(--trial);opacity:.6}
rect.pin{fill:var(--fg)}svg text.pin{fill:var(--bg);font-weight:700;font-size:12px}
svg text.inside{fill:var(--inside)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.875rem;margin:.4em 0 0}
.legend span{display:inline-flex;align-items:center;gap:6px}
.key{width:20px;height:12px;flex:none}
.letter{display:inline-block;min-width:1.35em;padding:0 .3em;text-align:center;border-radius:1em;
background:var(--fg);color:var(--bg);font-size:.8em;line-height:1.35}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-size:.9rem;padding-bottom:6px}
th,td{text-align:right;padding:6px 8px;border-bottom:1px solid var(--line);vertical-align:top}
th:first-child,td:first-child{text-align:left}thead th{color:var(--soft);font-weight:600}
td.text,th.text{text-align:left}
.met,.partly{color:var(--ok);font-weight:600}.failed{color:var(--bad);font-weight:700}
.not_judged{color:var(--soft)}
details{margin:.6em 0}summary{cursor:pointer}
code{font:.85em ui-monospace,"Liberation Mono",monospace;overflow-wrap:anywhere}
@media (max-width:760px){
table.stack thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table.stack tr{display:block;border:1px solid var(--line);border-radius:8px;margin:0 0 12px;
padding:4px 10px;background:var(--card)}
table.stack th,table.stack td{display:flex;justify-content:space-between;gap:16px;
text-align:right;padding:4px 0;border:0}
table.stack tbody th{font-size:1rem;text-align:left}
table.stack td::before{content:attr(data-label);color:var(--soft);text-align:left}
table.stack td>div{min-width:0}}
"""

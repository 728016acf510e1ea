"""The style sheet and the few lines of script of the plan-tree page: inlined, so that it loads nothing."""

STYLE = """
:root{color-scheme:light dark;
 --paper:#f6f4ef;--card:#ffffff;--ink:#23262b;--soft:#5d636d;--faint:#737882;--line:#e2ded5;--wash:#f1eee7;
 --right:#0b6e5f;--right-bg:#e0f2ee;--right-line:#a6d8cd;--wrong:#a83a24;--wrong-bg:#fae8e3;
 --wrong-line:#ecbcb0;
 --accent:#3d5a98;--bar:#d9d4c9;--shadow:0 1px 2px rgba(40,35,25,.06),0 6px 18px rgba(40,35,25,.05);
 --sans:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",Helvetica,Arial,sans-serif;
 --mono:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media (prefers-color-scheme:dark){:root{
 --paper:#15171b;--card:#1d2026;--ink:#e9e6df;--soft:#a9aeb7;--faint:#848a94;--line:#30343c;--wash:#262a31;
 --right:#5fd3bb;--right-bg:#15322d;--right-line:#2a6458;--wrong:#ff9a84;--wrong-bg:#3a201a;
 --wrong-line:#74402f;
 --accent:#9db8f2;--bar:#3a3f48;--shadow:none}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 var(--sans)}
main{max-width:1180px;margin:0 auto;padding:2.6rem 1.25rem 4rem}
h1{font-size:clamp(1.6rem,1.2rem + 1.9vw,2.35rem);line-height:1.15;margin:0 0 .6rem;letter-spacing:-.015em;
 text-wrap:balance}
h2{font-size:1.25rem;line-height:1.3;margin:0;letter-spacing:-.01em}
h3{font-size:.95rem;margin:0;font-weight:650}
p{margin:.4rem 0}.lead{color:var(--soft);max-width:46rem;margin:0 0 1.6rem}
a{color:var(--accent)}:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:4px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(215px,1fr));gap:.9rem;margin:0 0 1.6rem}
.tile{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:.95rem 1.1rem;
 box-shadow:var(--shadow)}
.tile .what{color:var(--soft);font-size:.86rem}
.tile .big{font-size:1.75rem;font-weight:680;letter-spacing:-.02em;line-height:1.25;
 font-variant-numeric:tabular-nums}
.tile .big .to{color:var(--faint);font-weight:400;padding:0 .3rem}
.tile .note{color:var(--soft);font-size:.82rem}
.legend{display:flex;flex-wrap:wrap;gap:.45rem 1.2rem;align-items:center;color:var(--soft);font-size:.86rem;
 margin:0 0 1.1rem}
.legend .chips{display:inline-flex}
.tools{display:flex;gap:.5rem;margin-left:auto}
button{font:inherit;font-size:.84rem;color:var(--ink);background:var(--card);border:1px solid var(--line);
 border-radius:8px;
 padding:.3rem .7rem;cursor:pointer}button:hover{border-color:var(--faint)}
.numbers{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:14px;
 box-shadow:var(--shadow);margin:0 0 2rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.8rem 1.1rem .2rem;font-weight:650}
th,td{padding:.45rem .8rem;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--soft);font-weight:550;font-size:.82rem}
th:first-child,td:first-child{text-align:left;padding-left:1.1rem}td small{color:var(--faint)}
.numbers .foot{padding:.55rem 1.1rem .8rem;border-top:1px solid var(--line);color:var(--soft);
 font-size:.86rem;margin:0}
.toc{list-style:none;margin:0 0 2rem;padding:0;display:grid;grid-template-columns:repeat(auto-fill,
 minmax(330px,1fr));gap:.35rem .9rem}
.toc a{display:flex;gap:.7rem;align-items:center;text-decoration:none;color:var(--ink);padding:.4rem .7rem;
 border-radius:9px;
 border:1px solid transparent}.toc a:hover{background:var(--card);border-color:var(--line)}
.toc .name{flex:1;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.toc .num{color:var(--soft);font-size:.85rem;font-variant-numeric:tabular-nums;white-space:nowrap}
.toc .tag{min-width:4.4rem;text-align:center}
.tag{font-size:.76rem;color:var(--soft);background:var(--wash);border-radius:99px;padding:.08rem .55rem;
 white-space:nowrap}
.q{background:var(--card);border:1px solid var(--line);border-radius:18px;box-shadow:var(--shadow);
 margin:0 0 1.6rem;
 padding:1.3rem 1.35rem 1.35rem;scroll-margin-top:1rem}
.qhead{display:flex;flex-wrap:wrap;align-items:center;gap:.35rem .7rem;margin-bottom:.7rem}
.qhead .gold{margin-left:auto;color:var(--soft);font-size:.92rem}.qhead .gold b{color:var(--ink)}
.qbody{display:flex;flex-wrap:wrap;gap:1rem 2rem;align-items:center;margin-bottom:1.1rem}
.facts{margin:0;padding:0;list-style:none;columns:2;column-gap:1.6rem;flex:1 1 19rem;max-width:27rem;
 font-size:.96rem}
.facts li{break-inside:avoid;padding:.1rem 0}.facts .idle{color:var(--faint)}
.picture{flex:1 1 22rem;min-width:0}.picture svg{width:100%;height:auto;max-height:165px;display:block}
.prose{white-space:pre-wrap;flex:1 1 100%;margin:0}
.stage{border-top:1px solid var(--line);padding-top:.85rem;margin-top:.95rem}
.shead{display:flex;flex-wrap:wrap;align-items:center;gap:.3rem .8rem;margin-bottom:.65rem}
.shead .count{color:var(--soft);font-size:.88rem;font-variant-numeric:tabular-nums}
.dots{display:inline-flex;gap:7px}.dots span{display:inline-flex;gap:2px}
.dots i{width:9px;height:9px;border-radius:50%;display:block;border:1.5px solid var(--wrong);
 background:transparent}
.dots i.ok{background:var(--right);border-color:var(--right)}
.plans{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:.75rem;align-items:start}
.plan{border:1px solid var(--line);border-radius:13px;overflow:hidden;background:var(--card)}
.plan.all{border-color:var(--right-line)}.plan.none{border-color:var(--wrong-line)}
.phead{padding:.6rem .8rem .65rem;background:var(--wash)}.plan.all .phead{background:var(--right-bg)}
 .plan.none .phead{background:var(--wrong-bg)}
.ptop{display:flex;align-items:center;gap:.55rem;font-size:.84rem;margin-bottom:.5rem}
.ptop b{font-size:.9rem;font-variant-numeric:tabular-nums;white-space:nowrap}
.meter{flex:1;height:6px;border-radius:4px;background:var(--bar);overflow:hidden}
.meter i{display:block;height:100%;background:var(--right);border-radius:4px}
.pmeta{color:var(--soft);font-size:.78rem;margin-top:.5rem;font-variant-numeric:tabular-nums}
.chips{list-style:none;display:flex;flex-wrap:wrap;gap:.28rem;margin:0;padding:0;font-size:.86rem}
.chips li,.chip{border:1px solid var(--line);border-radius:7px;padding:.02rem .42rem;background:var(--card)}
.chips .right{color:var(--right);border-color:var(--right-line)}
.chips .wrong{color:var(--wrong);border-color:var(--wrong-line);text-decoration:line-through;
 text-decoration-thickness:1px}
.chips .missing{color:var(--soft);border-style:dashed;border-color:var(--faint);background:transparent}
.plan .text{font-size:.88rem;white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
.chain{border-top:1px solid var(--line)}
.chain summary{display:flex;align-items:center;gap:.5rem;padding:.42rem .8rem;cursor:pointer;
 font-size:.9rem;list-style:none}
.chain summary::-webkit-details-marker{display:none}.chain summary:hover{background:var(--wash)}
.chain summary:focus-visible{outline-offset:-3px;border-radius:8px}
.chain .mark{display:inline-grid;place-items:center;width:1.3rem;height:1.3rem;border-radius:50%;
 font-size:.8rem;font-weight:700;flex:none}
.chain.ok .mark{color:var(--right);background:var(--right-bg)}.chain.no .mark{color:var(--wrong);
 background:var(--wrong-bg)}
.chain .answer{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.chain .fold{margin-left:auto;color:var(--faint);transition:transform .15s}
 .chain[open] .fold{transform:rotate(90deg)}
.inside{padding:.15rem .8rem .7rem}
.steps{list-style:none;margin:0;padding:0;font-size:.81rem;line-height:1.5;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.steps li{padding-left:.6rem;border-left:2px solid var(--line);margin:.16rem 0}
.steps .right{border-color:var(--right-line)}.steps .wrong{border-color:var(--wrong);color:var(--wrong)}
.pay{color:var(--soft);font-size:.77rem;margin:.5rem 0 0;font-variant-numeric:tabular-nums}
.pay span{white-space:nowrap}
footer{color:var(--soft);font-size:.85rem;margin-top:2.2rem}
.g-edge{stroke:var(--faint);stroke-width:1.6;fill:none}.g-edge.idle{stroke:var(--bar);stroke-dasharray:3 3}
.g-head{fill:var(--faint)}.g-head.idle{fill:var(--bar)}
.g-node{fill:var(--right-bg);stroke:var(--right-line);stroke-width:1.4}.g-node.goal{fill:var(--right);
 stroke:var(--right)}
.g-node.idle{fill:transparent;stroke:var(--bar);stroke-dasharray:3 3}
.g-name{font:600 13px var(--sans);fill:var(--ink);text-anchor:middle}.g-name.goal{fill:var(--card)}
 .g-name.idle{fill:var(--faint);font-weight:400}
.g-value{font:11.5px var(--sans);fill:var(--soft);text-anchor:middle}.g-value.idle{fill:var(--faint)}
 .g-value.goal{fill:var(--card)}
@media (max-width:900px){.plans{grid-template-columns:repeat(2,minmax(0,1fr))}}
@media (max-width:560px){main{padding:1.6rem .8rem 3rem}.q{padding:1rem .85rem;border-radius:15px}
 .plans{gap:.5rem}.phead{padding:.5rem .6rem}.chain summary{padding:.5rem .6rem}
 .inside{padding:.1rem .6rem .6rem}
 .tools{margin-left:0}.facts{font-size:.92rem}.toc{grid-template-columns:1fr}.qhead .gold{margin-left:0}
 .plan:has(.chain[open]){grid-column:1/-1}}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}.chain .fold{transition:none}}
@media print{.tools{display:none}.q{break-inside:avoid;box-shadow:none}}
"""

# Without scripts the page is complete; with them two buttons open and close every chain at once.
SCRIPT = """
document.querySelectorAll('button[data-open]').forEach(function(b){b.hidden=false;
 b.addEventListener('click',function(){
 var open=b.dataset.open==='yes';document.querySelectorAll('details.chain').forEach(function(d){d.open=open}
 )})});
"""

import { createBenchDatabase } from './bench-database.ts';
import { startChild } from './child.ts';
import { load } from './load.ts';
const up=await startChild('upstream'); const t=await startChild('thin',{UPSTREAM:up.url});
const variants=process.argv.slice(2);
const gs=[] as any[];
for(const v of variants){ const db=await createBenchDatabase(); const g=await startChild('gateway',{UPSTREAM:up.url,BENCH_DATABASE:db.url,NODE_OPTIONS:v==='-'?'':v}); gs.push({v,db,g}); await load(g.url,g.facts['tool']!,{seconds:10,headers:{authorization:`Bearer ${g.facts['key']}`}}); }
for(let i=0;i<4;i++) for(const {v,db,g} of gs){ const h={authorization:`Bearer ${g.facts['key']}`}; const c0=await g.cpuMicros(); const p0=await db.cpuMicros(); const l=await load(g.url,g.facts['tool']!,{seconds:3,headers:h}); const c=(await g.cpuMicros()-c0)/l.total; const p=(await db.cpuMicros()-p0)/l.total;
 const d0=await t.cpuMicros(); const m=await load(t.url,'echo',{seconds:1}); console.log(v,'gw',l.perSecond.toFixed(0),c.toFixed(0),'pg',p.toFixed(0),'thin',m.perSecond.toFixed(0),((await t.cpuMicros()-d0)/m.total).toFixed(0)); }
for(const {db,g} of gs){ await g.stop(); await db.drop(); } await t.stop(); await up.stop();  process.exit(0);

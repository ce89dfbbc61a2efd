import { chmod, copyFile, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = import.meta.dirname;
const dist = join(here, 'dist');

// One file without dependencies: `npx` has nothing else to fetch, and Node nothing else to resolve.
await rm(dist, { recursive: true, force: true });
await mkdir(dist);
const outfile = join(dist, 'mcp-proxy.js');
await build({
  entryPoints: [join(here, 'mcp-proxy.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  minify: true,
  logLevel: 'warning',
});
await chmod(outfile, 0o755);
// What is bundled keeps its licence beside it.
const parser = dirname(dirname(fileURLToPath(import.meta.resolve('eventsource-parser'))));
await copyFile(join(parser, 'LICENSE'), join(dist, 'eventsource-parser.LICENSE'));

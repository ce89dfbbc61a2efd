import { readdirSync, readFileSync } from 'node:fs';
import { isJsonObject, type Json, type JsonObject } from '../base/json.ts';

/** A manifest and the file it came from, which names the agent's route: `csv-profiler.json`. */
export type ManifestFile = { file: string; manifest: JsonObject };

/** The origins that the files of `manifests/` are written with, the demo's own and the third party's. */
export const WRITTEN_ORIGINS = { agents: 'http://127.0.0.1:8791', mcp: 'http://127.0.0.1:8792' };

const FOLDER = new URL('../../manifests/', import.meta.url);

/** Every manifest as it is written, in the order of their names. */
export function readManifests(): ManifestFile[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => ({
      file,
      manifest: JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8')) as JsonObject,
    }));
}

/** Moves every URL of a manifest, its examples' included, from the written origins to the real ones. */
export function relocate(manifest: JsonObject, origins: { agents: string; mcp: string }): JsonObject {
  const move = (value: Json): Json => {
    if (typeof value === 'string') {
      for (const name of ['agents', 'mcp'] as const) {
        if (value.startsWith(`${WRITTEN_ORIGINS[name]}/`)) {
          return origins[name] + value.slice(WRITTEN_ORIGINS[name].length);
        }
      }
      return value;
    }
    if (Array.isArray(value)) return value.map(move);
    if (isJsonObject(value)) return moveMembers(value);
    return value;
  };
  const moveMembers = (object: JsonObject): JsonObject =>
    Object.fromEntries(Object.entries(object).map(([name, value]) => [name, move(value)]));
  return moveMembers(manifest);
}

import type { Answer, RestGateway } from './rest-gateway.ts';

type Schema = {
  type?: string | string[];
  enum?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  example?: unknown;
  format?: string;
  minLength?: number;
  minimum?: number;
  anyOf?: Schema[];
  oneOf?: Schema[];
  $ref?: string;
};

type Operation = {
  security?: { apiKey: string[] }[];
  parameters?: { in: string; name: string; schema?: Schema }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
};

/** One route as the API describes itself. */
export type Route = {
  method: string;
  path: string;
  /** Undefined: no key is needed. */
  scope: string | undefined;
  /** What its path names. */
  parameters: string[];
  query: string[];
  /** Those of them that are one of some words. */
  choices: Record<string, string[]>;
  /** A body it accepts; members whose names say that they are an id have this one. */
  sampleBody(id: string): unknown;
};

/** Every route in the OpenAPI document. */
export async function listRoutes(rest: RestGateway): Promise<Route[]> {
  const { body: document }: Answer = await rest.send('GET', '/openapi.json');
  const paths = document.paths as Record<string, Record<string, Operation>>;
  const named = (document.components?.schemas ?? {}) as Record<string, Schema>;
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]): Route => {
      const of = (place: string): string[] =>
        (operation.parameters ?? []).filter((each) => each.in === place).map(({ name }) => name);
      const body = operation.requestBody?.content['application/json']?.schema;
      return {
        method: method.toUpperCase(),
        path,
        scope: operation.security?.[0]?.apiKey[0],
        parameters: of('path'),
        query: of('query'),
        choices: Object.fromEntries(
          (operation.parameters ?? []).flatMap(({ name, schema }) =>
            schema?.enum ? [[name, schema.enum.map(String)]] : [],
          ),
        ),
        sampleBody: (id) => (body ? sample(body, named, id) : undefined),
      };
    }),
  );
}

/** Something the schema allows: what is required, and every id there is room for. */
function sample(schema: Schema, named: Record<string, Schema>, id: string, name = ''): unknown {
  if (schema.$ref) return sample(named[schema.$ref.split('/').at(-1) ?? ''] ?? {}, named, id, name);
  const either = schema.anyOf ?? schema.oneOf;
  if (either?.[0]) return sample(either[0], named, id, name);
  if (schema.enum) return schema.enum[0];
  const [type = 'null'] = [schema.type].flat();
  switch (type) {
    case 'object':
      return Object.fromEntries(
        Object.entries(schema.properties ?? {})
          .filter(([member]) => schema.required?.includes(member) === true || isId(member))
          .map(([member, inner]) => [member, sample(inner, named, id, member)]),
      );
    case 'array':
      return schema.items ? [sample(schema.items, named, id, name)] : [];
    case 'string':
      if (isId(name)) return id;
      if (name === 'url' || schema.format === 'uri') return 'http://127.0.0.1:9/hook';
      return schema.example ?? 'x'.repeat(Math.max(1, schema.minLength ?? 1));
    case 'integer':
    case 'number':
      return schema.example ?? schema.minimum ?? 1;
    case 'boolean':
      return false;
    default:
      return null;
  }
}

function isId(name: string): boolean {
  return name === 'id' || name === 'call' || name.endsWith('_id');
}

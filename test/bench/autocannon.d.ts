// The package ships no types; these are the parts used here, as its README describes them.
declare module 'autocannon' {
  type Options = {
    url: string;
    connections: number;
    duration: number;
    method: string;
    headers: Record<string, string>;
    body: string;
    idReplacement: boolean;
  };
  type Result = {
    errors: number;
    non2xx: number;
    duration: number;
    requests: { total: number };
    latency: { p50: number; p99: number };
  };
  export default function autocannon(options: Options): Promise<Result>;
}

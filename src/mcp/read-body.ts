/**
 * The whole body, or undefined as soon as it is known to be too large. A declared length is believed: the HTTP
 * parser reads no byte beyond it. Only a body without one (chunked) has to be counted while it is read.
 */
export async function readBody(request: Request, maxBytes: number): Promise<Uint8Array | undefined> {
  const declared = request.headers.get('content-length');
  if (declared !== null) {
    if (!(Number(declared) <= maxBytes)) return undefined;
    return new Uint8Array(await request.arrayBuffer());
  }
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let length = 0;
  // Not by iterating: leaving a loop cancels the stream, and with it the connection the answer is to go out on.
  const reader = request.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(chunks);
    length += value.byteLength;
    if (length > maxBytes) return undefined;
    chunks.push(value);
  }
}

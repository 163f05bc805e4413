// fetch of Node.js (undici): fetch.mjs PROXY. Says each event on standard error as it comes.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

const [proxy] = process.argv.slice(2);
const json = async (path, options) => (await fetch(proxy + path, options)).json();

const replies = await Promise.all(Array.from({ length: 50 }, (_, number) => json(`/orders/${number}`)));
replies.forEach((seen, number) => {
  assert.equal(seen.target, `/orders/${number}`);
  assert.equal(seen.token.verdict, "valid");
});

const body = JSON.stringify({ item: "ü" });
const posted = await json("/orders", { method: "POST", body, headers: { "content-type": "application/json" } });
assert.equal(posted.body_sha256, createHash("sha256").update(body).digest("hex"));

const piece = Buffer.alloc(65_536, 0x5a);
const pieces = new ReadableStream({
  sent: 0,
  pull(stream) {
    if (this.sent++ === 64) stream.close();
    else stream.enqueue(piece);
  },
});
const uploaded = await json("/sink", { method: "POST", body: pieces, duplex: "half" });
assert.equal(uploaded.body_bytes, 64 * piece.length);

const length = 16 * 1024 * 1024;
assert.equal((await (await fetch(`${proxy}/bytes/${length}`)).arrayBuffer()).byteLength, length);

const leaving = new AbortController();
const hanging = fetch(`${proxy}/hang`, { signal: leaving.signal });
setImmediate(() => leaving.abort());
await assert.rejects(hanging, { name: "AbortError" });

const events = await fetch(`${proxy}/events`);
let text = "";
for await (const piece of events.body.pipeThrough(new TextDecoderStream())) {
  process.stderr.write(piece);
  text += piece;
  if (text.includes("data: last")) break;
}
console.log("done");

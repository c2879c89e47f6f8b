// The Node SDK as "alice" with a participant of the Python SDK, "bob", whom the test outside plays.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { RoomEvent, RpcError } from "@livekit/rtc-node";
import { averageColour, decode, encode, hears, inbox, isAudio, isVideo, rejection } from "./kit.mjs";

const digest = (data) => createHash("sha256").update(data).digest("hex");

export async function streamsBothWays(t) {
  const [room] = await t.join("alice");
  const box = inbox(room, "mail");
  const text = "zwölf Boxkämpfer €\n".repeat(10_000);
  const data = randomBytes(300_000);

  await room.localParticipant.sendText(text, { topic: "mail", attributes: { from: "node" } });
  assert.deepEqual(await t.ask("received"), [digest(text), "alice", { from: "node" }]);
  const writer = await room.localParticipant.streamBytes({ name: "noise.bin", topic: "mail", totalSize: data.length });
  for (let at = 0; at < data.length; at += 50_000) await writer.write(data.subarray(at, at + 50_000));
  await writer.close();
  assert.deepEqual((await t.ask("received")).slice(0, 2), [digest(data), "alice"]);

  for (const kind of ["send_text", "send_bytes"]) {
    const sent = await t.ask(kind);
    const { whole, identity, info } = await box.next();
    assert.deepEqual([digest(whole), identity, info.attributes.from], [sent, "bob", "python"]);
  }
}

export async function packetsBothWays(t) {
  const [room, events] = await t.join("alice");
  await t.ask("seen");
  await room.localParticipant.publishData(encode("from node"), { reliable: true, topic: "chat", destination_identities: ["bob"] });
  assert.deepEqual(await t.ask("packet"), ["from node", "chat", "alice"]);
  await t.ask("publish");
  const [data, who, , topic] = await events.wait(RoomEvent.DataReceived);
  assert.deepEqual([decode(data), who.identity, topic], ["from python", "bob", "chat"]);
}

export async function callsBothWays(t) {
  const [{ localParticipant: alice }] = await t.join("alice");
  alice.registerRpcMethod("greet", async ({ callerIdentity, payload }) => `hello ${callerIdentity}: ${payload}`);
  alice.registerRpcMethod("fail", async ({ payload }) => {
    throw new RpcError(1234, "as asked", payload);
  });
  const call = (method, payload) => alice.performRpc({ destinationIdentity: "bob", method, payload });
  const large = "0123456789".repeat(1_400);
  for (const payload of ["ping", large]) {
    assert.equal(await call("greet", payload), `hello alice: ${payload}`);
    assert.equal(await t.ask("call", ["greet", payload]), `hello bob: ${payload}`);
  }
  const { code, message, data } = await rejection(call("fail", "details"));
  assert.deepEqual([code, message, data], [1234, "as asked", "details"]);
  assert.deepEqual(await t.ask("call", ["fail", "details"]), [1234, "as asked", "details"]);
  assert.equal((await rejection(call("nothing", ""))).code, RpcError.ErrorCode.UNSUPPORTED_METHOD);
  assert.equal((await t.ask("call", ["nothing", ""]))[0], RpcError.ErrorCode.UNSUPPORTED_METHOD);
}

async function mediaBothWays(t, options) {
  const [room, events] = await t.join("alice", options);
  await t.tone(room, 440);
  await t.colour(room, [40, 200, 40]);
  const [tone] = await events.wait(RoomEvent.TrackSubscribed, isAudio);
  const [colour] = await events.wait(RoomEvent.TrackSubscribed, isVideo);
  assert.ok(await hears(tone, 880));
  assert.ok((await averageColour(colour)).blue > 150);
  const [heard, [, green]] = await t.ask("media");
  assert.ok(heard && green > 150);
}

export async function audioAndVideoBothWays(t) {
  await mediaBothWays(t, {});
}

export async function encryptedAudioAndVideoBothWays(t) {
  await mediaBothWays(t, { encryption: { keyProviderOptions: { sharedKey: encode(t.more.sharedKey) } } });
}

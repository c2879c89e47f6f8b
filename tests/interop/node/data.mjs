// Data of the Node SDK: packets, calls, text and byte streams.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { DataPacketKind, RoomEvent, RpcError } from "@livekit/rtc-node";
import { DataPacket_Kind } from "livekit-server-sdk";
import { decode, encode, eventually, inbox, rejection, sleep } from "./kit.mjs";

const { ErrorCode } = RpcError;

export async function packetsWithATopicToAllAndToOne(t) {
  const [, bobs] = await t.join("bob");
  const [, carols] = await t.join("carol");
  const [{ localParticipant: alice }] = await t.join("alice");
  await alice.publishData(encode("for carol"), { reliable: true, topic: "chat", destination_identities: ["carol"] });
  await alice.publishData(encode("for all"), { reliable: true, topic: "chat" });
  for (const events of [bobs, carols]) {
    const [, who, kind, topic] = await events.wait(RoomEvent.DataReceived, (data) => decode(data) === "for all");
    assert.deepEqual([who.identity, kind, topic], ["alice", DataPacketKind.KIND_RELIABLE, "chat"]);
  }
  assert.deepEqual(carols.all(RoomEvent.DataReceived).map(([data]) => decode(data)), ["for carol", "for all"]);
  assert.equal(bobs.all(RoomEvent.DataReceived).length, 1);
}

export async function lossyPackets(t) {
  const [, events] = await t.join("bob");
  const [{ localParticipant: alice }] = await t.join("alice");
  await eventually("a lossy packet", async () => {
    await alice.publishData(encode("lossy"), { reliable: false });
    return events.all(RoomEvent.DataReceived).length;
  });
  const [data, , kind] = await events.wait(RoomEvent.DataReceived);
  assert.deepEqual([decode(data), kind], ["lossy", DataPacketKind.KIND_LOSSY]);
}

export async function manyReliablePacketsOnceAndInOrder(t) {
  const [, events] = await t.join("bob");
  const [{ localParticipant: alice }] = await t.join("alice");
  const count = 300;
  for (let number = 0; number < count; number++)
    await alice.publishData(encode(`${number}:${"x".repeat(1_000)}`), { reliable: true });
  await eventually("every packet", () => events.all(RoomEvent.DataReceived).length >= count);
  const numbers = events.all(RoomEvent.DataReceived).map(([data]) => Number.parseInt(decode(data), 10));
  assert.deepEqual(numbers, Array.from({ length: count }, (_, n) => n));
}

export async function packetsFromTheServerApi(t) {
  const [, alices] = await t.join("alice");
  const [, bobs] = await t.join("bob");
  await t.rooms.sendData(t.room, encode("for bob"), DataPacket_Kind.RELIABLE, { destinationIdentities: ["bob"], topic: "t" });
  const [data, who, kind, topic] = await bobs.wait(RoomEvent.DataReceived);
  assert.deepEqual([decode(data), who, kind, topic], ["for bob", undefined, DataPacketKind.KIND_RELIABLE, "t"]);
  await t.rooms.sendData(t.room, encode("for all"), DataPacket_Kind.RELIABLE, {});
  for (const events of [alices, bobs]) await events.wait(RoomEvent.DataReceived, (data) => decode(data) === "for all");
  assert.equal(alices.all(RoomEvent.DataReceived).length, 1);
}

export async function callsAndTheirErrors(t) {
  const [{ localParticipant: bob }] = await t.join("bob");
  const [{ localParticipant: alice }] = await t.join("alice");
  bob.registerRpcMethod("greet", async ({ callerIdentity, payload }) => `hello ${callerIdentity}: ${payload}`);
  bob.registerRpcMethod("fail", async ({ payload }) => {
    throw new RpcError(1234, "as asked", payload);
  });
  bob.registerRpcMethod("crash", async () => {
    throw new Error("a secret of the callee");
  });
  bob.registerRpcMethod("sleep", async () => {
    await sleep(10_000);
    return "";
  });
  const call = (method, payload = "", more = {}) => alice.performRpc({ destinationIdentity: "bob", method, payload, ...more });

  assert.equal(await call("greet", "ping"), "hello alice: ping");
  const asked = await rejection(call("fail", "details"));
  assert.deepEqual([asked.code, asked.message, asked.data], [1234, "as asked", "details"]);
  const crashed = await rejection(call("crash"));
  assert.equal(crashed.code, ErrorCode.APPLICATION_ERROR);
  assert.ok(!crashed.message.includes("secret"));
  assert.equal((await rejection(call("nothing"))).code, ErrorCode.UNSUPPORTED_METHOD);
  assert.equal((await rejection(call("sleep", "", { responseTimeout: 2_000 }))).code, ErrorCode.RESPONSE_TIMEOUT);
  bob.unregisterRpcMethod("greet");
  assert.equal((await rejection(call("greet"))).code, ErrorCode.UNSUPPORTED_METHOD);
}

// From Node to Node the SDK sends what is too large for a packet as a stream.
export async function largeCallsInBothDirectionsAtOnce(t) {
  const [{ localParticipant: bob }] = await t.join("bob");
  const [{ localParticipant: alice }] = await t.join("alice");
  const payload = "0123456789".repeat(2_000);
  for (const who of [alice, bob]) who.registerRpcMethod("echo", async (call) => `${who.identity} ${call.payload}`);
  const calls = (caller, destinationIdentity) =>
    Array.from({ length: 5 }, () => caller.performRpc({ destinationIdentity, method: "echo", payload }));
  assert.deepEqual(await Promise.all(calls(alice, "bob")), Array(5).fill(`bob ${payload}`));
  assert.deepEqual(await Promise.all(calls(bob, "alice")), Array(5).fill(`alice ${payload}`));
}

export async function callToOneWhoIsNotThere(t) {
  const [{ localParticipant: alice }] = await t.join("alice");
  const error = await rejection(alice.performRpc({ destinationIdentity: "nobody", method: "greet", payload: "" }));
  assert.ok([ErrorCode.CONNECTION_TIMEOUT, ErrorCode.RECIPIENT_NOT_FOUND].includes(error.code), `${error.code}`);
}

const noise = (length) => Array.from({ length }, (_, n) => "abcdefghäöü€ \n"[(n * n * 7 + (n >> 3)) % 14]).join("");

async function text(t, compress) {
  const [bob] = await t.join("bob");
  const [carol] = await t.join("carol");
  const [{ localParticipant: alice }] = await t.join("alice");
  const inboxes = [inbox(bob, "notes"), inbox(carol, "notes")];
  const large = noise(200_000);
  await alice.sendText(large, { topic: "notes", attributes: { language: "none" }, compress });
  for (const box of inboxes) {
    const { info, whole, identity } = await box.next();
    assert.equal(whole, large);
    assert.deepEqual([info.topic, info.attributes.language, identity], ["notes", "none", "alice"]);
  }
  await alice.sendText("for carol", { topic: "notes", destinationIdentities: ["carol"] });
  assert.equal((await inboxes[1].next()).whole, "for carol");
  assert.equal(inboxes[0].found.length, 0);
}

export async function largeTextToAllAndToOne(t) {
  await text(t, true);
}

export async function largeTextThatIsNotCompressed(t) {
  await text(t, false);
}

export async function textAndBytesWrittenInPartsBothWays(t) {
  const [alice] = await t.join("alice");
  const [bob] = await t.join("bob");
  for (const [sender, receiver] of [[alice, bob], [bob, alice]]) {
    const box = inbox(receiver, "parts");
    const lines = Array.from({ length: 200 }, (_, n) => `line ${n}\n`);
    const textWriter = await sender.localParticipant.streamText({ topic: "parts" });
    for (const line of lines) await textWriter.write(line);
    await textWriter.close();
    assert.equal((await box.next()).whole, lines.join(""));

    const data = randomBytes(300_000);
    const writer = await sender.localParticipant.streamBytes({ name: "noise.bin", topic: "parts", totalSize: data.length, mimeType: "image/png" });
    for (let at = 0; at < data.length; at += 50_000) await writer.write(data.subarray(at, at + 50_000));
    await writer.close();
    const { info, whole } = await box.next();
    assert.deepEqual([info.name, info.mimeType, Number(info.totalSize)], ["noise.bin", "image/png", data.length]);
    assert.ok(whole.equals(data));
  }
}

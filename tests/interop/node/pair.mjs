// Two participants of the Node SDK and the server API of livekit-server-sdk in one room.
// usage: node pair.mjs URL ROOM KEY SECRET; prints one line per step, exits 1 at the first that fails.
import assert from "node:assert/strict";
import { AudioFrame, AudioSource, AudioStream, LocalAudioTrack, Room, RoomEvent, TrackPublishOptions, TrackSource, dispose } from "@livekit/rtc-node";
import { AccessToken, AgentDispatchClient, DataPacket_Kind, RoomServiceClient } from "livekit-server-sdk";

const [url, name, key, secret] = process.argv.slice(2);
const rooms = new RoomServiceClient(url.replace("ws", "http"), key, secret);
const agents = new AgentDispatchClient(url.replace("ws", "http"), key, secret);
const RATE = 48_000;

const step = (what) => console.log("ok", what);
const once = (room, event, accept = () => true) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} in 15 s`)), 15_000);
    const listen = (...values) => {
      if (!accept(...values)) return;
      clearTimeout(timer);
      room.off(event, listen);
      resolve(values);
    };
    room.on(event, listen);
  });
const join = async (identity) => {
  const token = new AccessToken(key, secret, { identity });
  token.addGrant({ roomJoin: true, room: name, canUpdateOwnMetadata: true });
  const room = new Room();
  await room.connect(url, await token.toJwt(), { autoSubscribe: true, dynacast: false });
  return room;
};
// Resolves at the first frame that is not silent.
const heard = async (track) => {
  for await (const frame of new AudioStream(track, RATE, 1))
    if (frame.data.some((sample) => Math.abs(sample) > 1_000)) return;
};

async function main() {
  const bob = await join("bob");
  const alice = await join("alice");

  const source = new AudioSource(RATE, 1);
  const track = LocalAudioTrack.createAudioTrack("tone", source);
  const subscribed = once(bob, RoomEvent.TrackSubscribed);
  const options = new TrackPublishOptions({ source: TrackSource.SOURCE_MICROPHONE });
  const publication = await alice.localParticipant.publishTrack(track, options);
  let playing = true;
  const play = (async () => {
    const samples = Int16Array.from({ length: RATE / 100 }, (_, n) => 12_000 * Math.sin((2 * Math.PI * 400 * n) / RATE));
    while (playing) await source.captureFrame(new AudioFrame(samples, RATE, 1, samples.length));
  })();
  const [remote, remotePublication] = await subscribed;
  await heard(remote);
  step("media");

  remotePublication.setSubscribed(false);
  await once(bob, RoomEvent.TrackUnsubscribed);
  const again = once(bob, RoomEvent.TrackSubscribed);
  remotePublication.setSubscribed(true);
  await heard((await again)[0]);
  step("unsubscribe and subscribe again");

  const muted = once(bob, RoomEvent.TrackMuted);
  await rooms.mutePublishedTrack(name, "alice", publication.sid, true);
  await muted;
  step("mute by the server API");

  const attributes = once(bob, RoomEvent.ParticipantAttributesChanged);
  await alice.localParticipant.setAttributes({ hand: "up" });
  assert.deepEqual((await attributes)[0], { hand: "up" });
  step("attributes");

  const data = once(bob, RoomEvent.DataReceived);
  await alice.localParticipant.publishData(new TextEncoder().encode("hello"), { reliable: true, topic: "chat" });
  assert.equal(new TextDecoder().decode((await data)[0]), "hello");
  const fromServer = once(bob, RoomEvent.DataReceived);
  await rooms.sendData(name, new TextEncoder().encode("server"), DataPacket_Kind.RELIABLE, { destinationIdentities: ["bob"] });
  assert.equal(new TextDecoder().decode((await fromServer)[0]), "server");
  step("data from a participant and from the server");

  bob.localParticipant.registerRpcMethod("greet", async (call) => `hello ${call.callerIdentity}: ${call.payload}`);
  const answer = await alice.localParticipant.performRpc({ destinationIdentity: "bob", method: "greet", payload: "ping" });
  assert.equal(answer, "hello alice: ping");
  step("rpc");

  const text = "x".repeat(100_000);
  const read = new Promise((resolve) => bob.registerTextStreamHandler("notes", async (reader) => resolve(await reader.readAll())));
  await alice.localParticipant.sendText(text, { topic: "notes" });
  assert.equal(await read, text);
  step("text stream");

  const present = await rooms.listParticipants(name);
  assert.deepEqual(present.map((who) => who.identity).sort(), ["alice", "bob"]);
  assert.equal((await rooms.listRooms([name])).length, 1);
  await assert.rejects(rooms.getParticipant(name, "nobody"), (error) => error.code === "not_found" || error.status === 404);
  const dispatch = await agents.createDispatch(name, "helper", { metadata: "m" });
  assert.equal((await agents.listDispatch(name)).some((found) => found.id === dispatch.id), true);
  await agents.deleteDispatch(dispatch.id, name);
  step("lists and dispatches of the server API");

  const removed = once(bob, RoomEvent.ParticipantDisconnected);
  const ended = once(alice, RoomEvent.Disconnected);
  await rooms.removeParticipant(name, "alice");
  await Promise.all([removed, ended]);
  step("removal by the server API");

  playing = false;
  await Promise.race([play.catch(() => undefined), new Promise((resolve) => setTimeout(resolve, 500))]);
  await bob.disconnect();
  await rooms.deleteRoom(name);
  await dispose();
  console.log("passed");
}

await main().then(() => process.exit(0), (error) => {
  console.log(error.stack ?? String(error));
  process.exit(1);
});

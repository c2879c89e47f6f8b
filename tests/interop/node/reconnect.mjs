// What the Node SDK does when its connections break: the call goes on. The test outside cuts them.
import assert from "node:assert/strict";
import { DisconnectReason, RoomEvent, SimulateScenarioKind } from "@livekit/rtc-node";
import { decode, encode, eventually, hears, sleep } from "./kit.mjs";

/** Alice, whose signal connection passes the proxy of the test, and bob, who is connected directly. */
async function callThroughProxy(t) {
  return [...(await t.join("alice", { url: t.more.proxy, grants: { canUpdateOwnMetadata: true } })), ...(await t.join("bob"))];
}

const publicationOf = (room, identity) =>
  [...(room.remoteParticipants.get(identity)?.trackPublications.values() ?? [])][0];

/** Wait for `frequency` on whatever track `identity` has by then. */
async function stillHears(room, identity, frequency) {
  await eventually(`${identity} to be heard`, async () => {
    const track = publicationOf(room, identity)?.track;
    return track && (await hears(track, frequency, 2));
  }, 20);
}

export async function signalConnectionCut(t) {
  const [alice, own, bob, other] = await callThroughProxy(t);
  const { sid } = await t.tone(alice, 440);
  await t.tone(bob, 880);
  const [heard, publication] = await other.wait(RoomEvent.TrackSubscribed);
  const [mine] = await own.wait(RoomEvent.TrackSubscribed);
  assert.ok((await t.ask("cut")) >= 1);
  await own.wait(RoomEvent.Reconnecting);
  await own.wait(RoomEvent.Reconnected, () => true, 20);
  assert.ok(await hears(heard, 440));
  assert.ok(await hears(mine, 880));
  assert.equal(publication.sid, sid);
  for (const name of [RoomEvent.ParticipantDisconnected, RoomEvent.TrackUnpublished, RoomEvent.TrackUnsubscribed])
    assert.deepEqual([...own.all(name), ...other.all(name)], []);
  assert.deepEqual(own.all(RoomEvent.LocalTrackRepublished), []);
}

export async function signalConnectionAwayForThreeSeconds(t) {
  const [alice, own, bob, other] = await callThroughProxy(t);
  await t.tone(alice, 440);
  await t.tone(bob, 880);
  const [heard] = await other.wait(RoomEvent.TrackSubscribed);
  await own.wait(RoomEvent.TrackSubscribed);
  await t.ask("close");
  await t.ask("cut");
  await own.wait(RoomEvent.Reconnecting);
  assert.ok(await hears(heard, 440));
  await sleep(3_000);
  await t.ask("open");
  await own.wait(RoomEvent.Reconnected, () => true, 20);
  await stillHears(bob, "alice", 440);
  await stillHears(alice, "bob", 880);
}

export async function whoIsForgottenWhileAwayComesBackAnew(t) {
  const [alice, own, bob, other] = await callThroughProxy(t);
  const { sid } = await t.tone(alice, 440);
  await t.tone(bob, 880);
  await other.wait(RoomEvent.TrackSubscribed);
  const { sid: before } = alice.localParticipant;
  await t.ask("close");
  await t.ask("cut");
  await own.wait(RoomEvent.Reconnecting);
  await t.rooms.removeParticipant(t.room, "alice");
  await other.wait(RoomEvent.ParticipantDisconnected);
  await t.ask("open");
  await own.wait(RoomEvent.Reconnected, () => true, 20);
  const [{ sid: anew }, previous] = await own.wait(RoomEvent.LocalTrackRepublished);
  assert.equal(previous, sid);
  assert.notEqual(anew, sid);
  const who = await eventually("alice again", () => bob.remoteParticipants.get("alice"));
  assert.notEqual(who.sid, before);
  await stillHears(bob, "alice", 440);
  await stillHears(alice, "bob", 880);
}

export async function whatChangesDuringACutIsSeenAfterIt(t) {
  const [alice, own, bob] = await callThroughProxy(t);
  const { sid } = await t.tone(bob, 880);
  await own.wait(RoomEvent.TrackSubscribed);
  await t.ask("close");
  await t.ask("cut");
  await own.wait(RoomEvent.Reconnecting);
  await t.rooms.mutePublishedTrack(t.room, "bob", sid, true);
  await t.rooms.updateRoomMetadata(t.room, "changed");
  await t.rooms.updateParticipant(t.room, "bob", { attributes: { hand: "up" } });
  await t.ask("open");
  await own.wait(RoomEvent.Reconnected, () => true, 20);
  await eventually("bob to be muted", () => publicationOf(alice, "bob")?.muted);
  await eventually("bob's hand", () => alice.remoteParticipants.get("bob").attributes.hand === "up");
  await eventually("the metadata", () => alice.metadata === "changed");
  await alice.localParticipant.setAttributes({ mood: "good" });
  await eventually("alice's mood", () => bob.remoteParticipants.get("alice").attributes.mood === "good");
}

export async function reliableDataSurvivesACut(t) {
  const [alice, own, bob, other] = await callThroughProxy(t);
  let sent = 0;
  const send = async (count) => {
    for (const end = sent + count; sent < end; sent++)
      for (const { localParticipant } of [alice, bob]) await localParticipant.publishData(encode(`${sent}`), { reliable: true });
  };
  await send(20);
  await t.ask("cut");
  await send(20);
  await own.wait(RoomEvent.Reconnected, () => true, 20);
  await send(20);
  for (const events of [own, other]) {
    await eventually("every packet", () => events.all(RoomEvent.DataReceived).length >= sent);
    const numbers = events.all(RoomEvent.DataReceived).map(([data]) => Number(decode(data)));
    assert.deepEqual(numbers, Array.from({ length: sent }, (_, n) => n));
  }
}

export async function callAndStreamAfterACut(t) {
  const [alice, own, bob] = await callThroughProxy(t);
  await t.ask("cut");
  await own.wait(RoomEvent.Reconnected, () => true, 20);
  bob.localParticipant.registerRpcMethod("greet", async ({ payload }) => `hello ${payload}`);
  const read = new Promise((resolve) => bob.registerTextStreamHandler("notes", async (reader) => resolve(await reader.readAll())));
  assert.equal(await alice.localParticipant.performRpc({ destinationIdentity: "bob", method: "greet", payload: "you" }), "hello you");
  await alice.localParticipant.sendText("x".repeat(100_000), { topic: "notes", compress: false });
  assert.equal((await read).length, 100_000);
}

/** Whatever the scenario breaks, both hear each other again, and data passes. */
async function simulated(t, kind) {
  const [alice, own] = await t.join("alice");
  const [bob, other] = await t.join("bob");
  await t.tone(alice, 440);
  await t.tone(bob, 880);
  await own.wait(RoomEvent.TrackSubscribed);
  await other.wait(RoomEvent.TrackSubscribed);
  await alice.simulateScenario(kind);
  await own.wait(RoomEvent.Reconnected, () => true, 20);
  await stillHears(bob, "alice", 440);
  await stillHears(alice, "bob", 880);
  await bob.localParticipant.publishData(encode("still there?"), { reliable: true });
  await own.wait(RoomEvent.DataReceived);
  if (kind === SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
    assert.deepEqual(other.all(RoomEvent.ParticipantDisconnected), []);
}

export async function signalReconnect(t) {
  await simulated(t, SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT);
}

export async function disconnectSignalOnResume(t) {
  await simulated(t, SimulateScenarioKind.SIMULATE_DISCONNECT_SIGNAL_ON_RESUME);
}

export async function fullReconnect(t) {
  await simulated(t, SimulateScenarioKind.SIMULATE_FULL_RECONNECT);
}

export async function nodeFailure(t) {
  await simulated(t, SimulateScenarioKind.SIMULATE_NODE_FAILURE);
}

export async function migration(t) {
  await simulated(t, SimulateScenarioKind.SIMULATE_MIGRATION);
}

export async function forceTcp(t) {
  await simulated(t, SimulateScenarioKind.SIMULATE_FORCE_TCP);
}

export async function serverLeaveEndsTheCall(t) {
  const [alice, own] = await t.join("alice");
  const [, other] = await t.join("bob");
  await alice.simulateScenario(SimulateScenarioKind.SIMULATE_SERVER_LEAVE);
  const [reason] = await own.wait(RoomEvent.Disconnected);
  assert.equal(reason, DisconnectReason.SERVER_SHUTDOWN);
  await other.wait(RoomEvent.ParticipantDisconnected);
}

export async function speakerScenarioAnnouncesTheSpeaker(t) {
  const [alice, own] = await t.join("alice");
  await alice.simulateScenario(SimulateScenarioKind.SIMULATE_SPEAKER);
  const [speakers] = await own.wait(RoomEvent.ActiveSpeakersChanged, ({ length }) => length);
  assert.deepEqual(speakers.map(({ identity }) => identity), ["alice"]);
}

export async function refreshedTokenLetsIn(t) {
  const [, events] = await t.join("alice");
  const [room] = await t.join("bob");
  await events.wait(RoomEvent.TokenRefreshed);
  await eventually("a token of bob's", () => room.token);
  const { token } = room;
  await room.disconnect();
  const [again] = await t.join("bob", { token });
  assert.equal(again.localParticipant.identity, "bob");
}

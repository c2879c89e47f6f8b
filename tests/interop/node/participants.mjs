// Participants as the Node SDK sees them: what they say of themselves, what they may, how they end.
import assert from "node:assert/strict";
import { ConnectError, DisconnectReason, ParticipantKind, Room, RoomEvent, TrackSource } from "@livekit/rtc-node";
import { AccessToken } from "livekit-server-sdk";
import { decode, encode, eventually, hears, isAudio, rejection } from "./kit.mjs";

const OWN = { grants: { canUpdateOwnMetadata: true } };
const from = (identity) => (_, who) => who.identity === identity;

export async function nameMetadataAndAttributesOfOneself(t) {
  const [bob, events] = await t.join("bob");
  const [{ localParticipant: alice }, own] = await t.join("alice", OWN);
  await alice.updateMetadata("a description");
  await alice.updateName("Alice");
  await alice.setAttributes({ hand: "up", mood: "good" });
  for (const seen of [events, own]) {
    assert.equal((await seen.wait(RoomEvent.ParticipantMetadataChanged, from("alice")))[0], "a description");
    assert.equal((await seen.wait(RoomEvent.ParticipantNameChanged, from("alice")))[0], "Alice");
    const [changed] = await seen.wait(RoomEvent.ParticipantAttributesChanged, from("alice"));
    assert.deepEqual(changed, { hand: "up", mood: "good" });
  }
  await alice.setAttributes({ hand: "" });
  const seen = bob.remoteParticipants.get("alice");
  await eventually("one attribute", () => !("hand" in seen.attributes));

  const [carol] = await t.join("carol");
  const late = carol.remoteParticipants.get("alice");
  assert.deepEqual([late.name, late.metadata, late.attributes], ["Alice", "a description", { mood: "good" }]);
}

export async function nameMetadataAndAttributesByTheServerApi(t) {
  const [bob, events] = await t.join("bob");
  const [alice, own] = await t.join("alice");
  const info = await t.rooms.updateParticipant(t.room, "alice", { name: "Alice", metadata: "m", attributes: { role: "host" } });
  assert.deepEqual([info.name, info.metadata, info.attributes], ["Alice", "m", { role: "host" }]);
  for (const seen of [events, own]) {
    const [changed] = await seen.wait(RoomEvent.ParticipantAttributesChanged, from("alice"));
    assert.deepEqual(changed, { role: "host" });
    await seen.wait(RoomEvent.ParticipantMetadataChanged, from("alice"));
    await seen.wait(RoomEvent.ParticipantNameChanged, from("alice"));
  }
  for (const who of [bob.remoteParticipants.get("alice"), alice.localParticipant])
    assert.deepEqual([who.name, who.metadata, who.attributes], ["Alice", "m", { role: "host" }]);
}

export async function attributesOfOneselfNeedAPermission(t) {
  const [bob, events] = await t.join("bob");
  const [{ localParticipant: alice }] = await t.join("alice");
  await alice.setAttributes({ hand: "up" });
  await alice.publishData(encode("later"), { reliable: true });
  await events.wait(RoomEvent.DataReceived);
  assert.deepEqual(bob.remoteParticipants.get("alice").attributes, {});
  assert.equal(events.all(RoomEvent.ParticipantAttributesChanged).length, 0);
}

export async function tokenCarriesNameMetadataAttributesAndKind(t) {
  const [, events] = await t.join("bob");
  const token = new AccessToken(t.key, t.secret, {
    identity: "robot", name: "Robot", metadata: "made of tin", attributes: { model: "5" },
  });
  token.addGrant({ roomJoin: true, room: t.room });
  token.kind = "agent";
  await t.join("robot", { token: await token.toJwt() });
  const [seen] = await events.wait(RoomEvent.ParticipantConnected);
  assert.deepEqual(
    [seen.identity, seen.name, seen.metadata, seen.attributes, seen.kind],
    ["robot", "Robot", "made of tin", { model: "5" }, ParticipantKind.AGENT],
  );
}

/** Publish audio in vain: the SDK waits ten seconds for an answer that does not come. */
async function refused(t, room) {
  assert.match((await rejection(t.tone(room))).message, /timed? ?out/i);
}

export async function permissionToPublishIsTakenAndGiven(t) {
  const [bob, events] = await t.join("bob");
  const [alice] = await t.join("alice");
  const allow = (canPublish) =>
    t.rooms.updateParticipant(t.room, "alice", { permission: { canSubscribe: true, canPublish, canPublishData: canPublish } });

  const { sid } = await t.tone(alice, 440);
  await events.wait(RoomEvent.TrackSubscribed);
  const taken = await allow(false);
  assert.deepEqual([taken.permission.canPublish, taken.tracks.length], [false, 0]);
  const [gone] = await events.wait(RoomEvent.TrackUnpublished);
  assert.equal(gone.sid, sid);
  await eventually("the news of it", () => alice.localParticipant.info.permission?.canPublish === false);
  assert.equal(bob.remoteParticipants.get("alice").trackPublications.size, 0);
  await refused(t, alice);
  events.forget();

  assert.equal((await allow(true)).permission.canPublish, true);
  await eventually("the news of it", () => alice.localParticipant.info.permission.canPublish);
  await t.tone(alice, 880);
  const [track] = await events.wait(RoomEvent.TrackSubscribed);
  assert.ok(await hears(track, 880));
}

export async function onlyAllowedSourcesArePublished(t) {
  const [, events] = await t.join("bob");
  const [alice] = await t.join("alice", { grants: { canPublishSources: [TrackSource.SOURCE_CAMERA] } });
  await refused(t, alice);
  const { sid } = await t.colour(alice, [40, 40, 200]);
  const [found] = await events.wait(RoomEvent.TrackPublished);
  assert.equal(found.sid, sid);
}

export async function permissionToSubscribeIsGivenAndTaken(t) {
  const [, events] = await t.join("bob", { grants: { canSubscribe: false } });
  const [alice] = await t.join("alice");
  await t.tone(alice, 440);
  await events.wait(RoomEvent.TrackPublished);
  assert.equal(events.all(RoomEvent.TrackSubscribed).length, 0);
  await t.rooms.updateParticipant(t.room, "bob", { permission: { canSubscribe: true } });
  const [track] = await events.wait(RoomEvent.TrackSubscribed, isAudio);
  assert.ok(await hears(track, 440));
  const info = await t.rooms.updateParticipant(t.room, "bob", { permission: { canSubscribe: false } });
  assert.equal(info.permission.canSubscribe, false);
  await eventually("silence", async () => !(await hears(track, 440, 1)));
}

export async function whoMayNotPublishDataReachesNobody(t) {
  const [, events] = await t.join("bob");
  const [alice] = await t.join("alice", { grants: { canPublishData: false } });
  const [carol] = await t.join("carol");
  await alice.localParticipant.publishData(encode("unwanted"), { reliable: true }).catch(() => undefined);
  await carol.localParticipant.publishData(encode("wanted"), { reliable: true });
  const [data] = await events.wait(RoomEvent.DataReceived);
  assert.equal(decode(data), "wanted");
}

export async function hiddenParticipantHearsAndIsNotSeen(t) {
  const [alice, events] = await t.join("alice");
  const [, heard] = await t.join("ghost", { grants: { hidden: true } });
  await t.join("bob");
  await t.tone(alice, 440);
  const [track] = await heard.wait(RoomEvent.TrackSubscribed);
  assert.ok(await hears(track, 440));
  await events.wait(RoomEvent.ParticipantConnected, ({ identity }) => identity === "bob");
  assert.deepEqual([...alice.remoteParticipants.keys()], ["bob"]);
}

export async function removedByTheServerApi(t) {
  const [, events] = await t.join("bob");
  const [alice, own] = await t.join("alice");
  await t.rooms.removeParticipant(t.room, "alice");
  const [reason] = await own.wait(RoomEvent.Disconnected);
  assert.equal(reason, DisconnectReason.PARTICIPANT_REMOVED);
  const [who] = await events.wait(RoomEvent.ParticipantDisconnected);
  assert.deepEqual([who.identity, who.disconnectReason], ["alice", DisconnectReason.PARTICIPANT_REMOVED]);
  assert.equal(alice.isConnected, false);
}

export async function roomDeletedByTheServerApi(t) {
  const everyone = [await t.join("alice"), await t.join("bob")];
  await t.rooms.deleteRoom(t.room);
  for (const [, events] of everyone) {
    const [reason] = await events.wait(RoomEvent.Disconnected);
    assert.equal(reason, DisconnectReason.ROOM_DELETED);
  }
  assert.deepEqual(await t.rooms.listRooms([t.room]), []);
}

export async function sameIdentityAgainEndsTheFirst(t) {
  const [bob, events] = await t.join("bob");
  const [, own] = await t.join("alice");
  const [second] = await t.join("alice");
  const [reason] = await own.wait(RoomEvent.Disconnected);
  assert.equal(reason, DisconnectReason.DUPLICATE_IDENTITY);
  await events.wait(RoomEvent.ParticipantConnected, ({ sid }) => sid === second.localParticipant.sid);
  assert.deepEqual([...bob.remoteParticipants.keys()], ["alice"]);
}

export async function leavingSaysThatTheClientWantedIt(t) {
  const [, events] = await t.join("bob");
  const [alice] = await t.join("alice");
  await events.wait(RoomEvent.ParticipantConnected);
  await alice.disconnect();
  const [who] = await events.wait(RoomEvent.ParticipantDisconnected);
  assert.deepEqual([who.identity, who.disconnectReason], ["alice", DisconnectReason.CLIENT_INITIATED]);
}

export async function badTokensAreRefused(t) {
  const other = (key, secret, grant, options) => {
    const token = new AccessToken(key, secret, { identity: "alice", ...options });
    token.addGrant(grant);
    return token.toJwt();
  };
  const grant = { roomJoin: true, room: t.room };
  const tokens = [
    await other(t.key, "not the secret, and as long as one", grant),
    await other("nobody", t.secret, grant),
    await other(t.key, t.secret, { roomCreate: true }),
    "not a token",
  ];
  for (const token of tokens) {
    const error = await rejection(new Room().connect(t.url, token));
    assert.ok(error instanceof ConnectError);
    assert.match(error.message, /40[13]/);
  }
}

export async function roomMetadataByTheServerApi(t) {
  const [alice, events] = await t.join("alice");
  const room = await t.rooms.updateRoomMetadata(t.room, "the topic");
  assert.deepEqual([room.name, room.metadata], [t.room, "the topic"]);
  await events.wait(RoomEvent.RoomMetadataChanged, (metadata) => metadata === "the topic");
  assert.equal(alice.metadata, "the topic");
  assert.match(await alice.getSid(), /^RM_/);
}

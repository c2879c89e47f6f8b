// livekit-server-sdk: every method of RoomServiceClient, and how each fails.
import assert from "node:assert/strict";
import { RoomEvent } from "@livekit/rtc-node";
import { AccessToken, DataPacket_Kind, ParticipantInfo_State, RoomServiceClient, ServerError, TrackType } from "livekit-server-sdk";
import { encode, eventually, rejection } from "./kit.mjs";

/** Checks what the client makes of a refusal: status, Twirp code and message. */
async function fails(promise, status, code, text) {
  const error = await rejection(promise);
  assert.ok(error instanceof ServerError, error.stack);
  assert.deepEqual([error.status, error.code, error.message], [status, code, text]);
}

export async function roomIsCreatedListedChangedAndDeleted(t) {
  const room = await t.rooms.createRoom({
    name: t.room, emptyTimeout: 60, departureTimeout: 7, maxParticipants: 9, metadata: "first",
    minPlayoutDelay: 100, maxPlayoutDelay: 200, syncStreams: true,
  });
  assert.match(room.sid, /^RM_/);
  assert.deepEqual(
    [room.name, room.emptyTimeout, room.departureTimeout, room.maxParticipants, room.metadata],
    [t.room, 60, 7, 9, "first"],
  );
  assert.ok(Math.abs(Number(room.creationTime) - Date.now() / 1_000) < 5);
  assert.deepEqual(room.enabledCodecs.slice(0, 3).map(({ mime }) => mime), ["audio/PCMU", "audio/PCMA", "audio/opus"]);
  const again = await t.rooms.createRoom({ name: t.room });
  assert.equal(again.sid, room.sid);
  const other = await t.rooms.createRoom({ name: `${t.room}-other` });

  const listed = await t.rooms.listRooms([t.room, "nowhere"]);
  assert.deepEqual(listed.map(({ sid }) => sid), [room.sid]);
  const sids = (await t.rooms.listRooms()).map(({ sid }) => sid);
  assert.ok(sids.includes(room.sid) && sids.includes(other.sid));
  const changed = await t.rooms.updateRoomMetadata(t.room, "second");
  assert.deepEqual([changed.sid, changed.metadata], [room.sid, "second"]);
  await eventually("the metadata", async () => (await t.rooms.listRooms([t.room]))[0].metadata === "second");

  for (const name of [t.room, other.name]) await t.rooms.deleteRoom(name);
  assert.deepEqual(await t.rooms.listRooms([t.room, other.name]), []);
  await fails(t.rooms.deleteRoom(t.room), 404, "not_found", "requested room does not exist");
}

export async function participantsAreListedWithTheirTracks(t) {
  const [alice] = await t.join("alice", { grants: { canPublishData: false } });
  await t.join("bob");
  const { sid } = await t.tone(alice);
  const everyone = await t.rooms.listParticipants(t.room);
  assert.deepEqual(everyone.map(({ identity }) => identity).sort(), ["alice", "bob"]);
  const info = await eventually("the track", async () => {
    const found = await t.rooms.getParticipant(t.room, "alice");
    return found.tracks.length && found;
  });
  assert.equal(info.sid, alice.localParticipant.sid);
  assert.equal(info.state, ParticipantInfo_State.ACTIVE);
  assert.ok(info.isPublisher);
  assert.deepEqual(info.tracks.map((track) => [track.sid, track.type, track.name]), [[sid, TrackType.AUDIO, "tone"]]);
  const { canPublish, canSubscribe, canPublishData, hidden } = info.permission;
  assert.deepEqual({ canPublish, canSubscribe, canPublishData, hidden }, { canPublish: true, canSubscribe: true, canPublishData: false, hidden: false });
  const [room] = await eventually("the counts", async () => {
    const found = await t.rooms.listRooms([t.room]);
    return found[0].numPublishers === 1 && found;
  });
  assert.equal(room.numParticipants, 2);
}

export async function tracksAreMutedByTheServerAndNotUnmuted(t) {
  const [alice] = await t.join("alice");
  const { sid } = await t.tone(alice);
  assert.equal((await t.rooms.mutePublishedTrack(t.room, "alice", sid, true)).muted, true);
  assert.equal((await t.rooms.mutePublishedTrack(t.room, "alice", sid, true)).muted, true);
  await fails(t.rooms.mutePublishedTrack(t.room, "alice", sid, false), 412, "failed_precondition", "remote unmute not enabled");
  assert.equal(await t.rooms.mutePublishedTrack(t.room, "alice", "TR_nothing", true), undefined);
}

export async function whatIsNotThereIsNotFound(t) {
  await t.rooms.createRoom({ name: t.room });
  const nobodyThere = [404, "not_found", "participant does not exist"];
  for (const room of [t.room, `${t.room}-nowhere`]) {
    assert.deepEqual(await t.rooms.listParticipants(room), []);
    await fails(t.rooms.getParticipant(room, "nobody"), ...nobodyThere);
    await fails(t.rooms.removeParticipant(room, "nobody"), ...nobodyThere);
    await fails(t.rooms.updateParticipant(room, "nobody", { metadata: "m" }), ...nobodyThere);
    await fails(t.rooms.mutePublishedTrack(room, "nobody", "TR_x", true), 503, "unavailable", "no response from servers");
  }
  await fails(t.rooms.updateRoomMetadata("nowhere", "m"), 404, "not_found", "requested room does not exist");
  await fails(t.rooms.createRoom({ name: "x".repeat(257) }), 400, "invalid_argument", "room name length exceeds limits: max length 256");
}

export async function nobodyAnswersForWhoIsNotThere(t) {
  const silence = [503, "unavailable", "no response from servers"];
  await Promise.all([
    fails(t.rooms.updateSubscriptions(t.room, "nobody", ["TR_x"], true), ...silence),
    fails(t.rooms.sendData(t.room, encode("x"), DataPacket_Kind.RELIABLE, {}), ...silence),
    fails(t.rooms.forwardParticipant(t.room, "nobody", "elsewhere"), ...silence),
    fails(t.rooms.moveParticipant(t.room, "nobody", "elsewhere"), ...silence),
  ]);
}

export async function forwardingAndMovingAreNotOfOneServer(t) {
  await t.join("alice");
  for (const method of ["forwardParticipant", "moveParticipant"])
    await fails(t.rooms[method](t.room, "alice", `${t.room}-other`), 500, "unknown", "not implemented");
}

// Only LiveKit Cloud revokes tokens.
export async function whoIsRemovedMayComeBack(t) {
  const token = await t.token("alice");
  const [, events] = await t.join("alice", { token });
  const revokeTokenTs = BigInt(Math.floor(Date.now() / 1_000) + 30);
  await t.rooms.removeParticipant(t.room, "alice", { revokeTokenTs });
  await events.wait(RoomEvent.Disconnected);
  await t.join("alice", { token });
  assert.equal((await t.rooms.listParticipants(t.room)).length, 1);
}

export async function whoMayNot(t) {
  await t.rooms.createRoom({ name: t.room });
  const wrong = new RoomServiceClient(t.httpUrl, t.key, "not the secret, and as long as one");
  const unknown = new RoomServiceClient(t.httpUrl, "nobody", t.secret);
  const withGrant = async (grant) => {
    const token = new AccessToken(t.key, t.secret, { identity: "api" });
    token.addGrant(grant);
    return new RoomServiceClient(t.httpUrl, undefined, undefined, { token: await token.toJwt() });
  };
  const calls = (client) => [
    client.createRoom({ name: t.room }), client.listRooms(), client.deleteRoom(t.room), client.listParticipants(t.room),
    client.getParticipant(t.room, "alice"), client.removeParticipant(t.room, "alice"), client.updateRoomMetadata(t.room, "m"),
    client.mutePublishedTrack(t.room, "alice", "TR_x", true), client.updateParticipant(t.room, "alice", { metadata: "m" }),
    client.updateSubscriptions(t.room, "alice", ["TR_x"], true), client.sendData(t.room, encode("x"), DataPacket_Kind.RELIABLE, {}),
    client.forwardParticipant(t.room, "alice", "elsewhere"), client.moveParticipant(t.room, "alice", "elsewhere"),
  ];
  // A token that is not one is answered before Twirp: in plain text, without a code.
  for (const [client, text] of [[wrong, /token signature is invalid: signature is invalid$/], [unknown, /^invalid API key/]])
    for (const error of await Promise.all(calls(client).map(rejection))) {
      assert.deepEqual([error.status, error.code], [401, undefined]);
      assert.match(error.message, text);
    }
  for (const grant of [{ roomAdmin: true, room: "elsewhere" }, { roomJoin: true, room: t.room }, {}])
    await Promise.all(calls(await withGrant(grant)).map((call) => fails(call, 401, "unauthenticated", "permissions denied")));
  const list = await withGrant({ roomList: true });
  assert.equal((await list.listRooms([t.room])).length, 1);
  await fails(list.deleteRoom(t.room), 401, "unauthenticated", "permissions denied");
}

// Tracks of the Node SDK: published, heard and seen, muted, left and taken up again, encrypted.
import assert from "node:assert/strict";
import { EncryptionType, RoomEvent, TrackKind, TrackSource, VideoCodec } from "@livekit/rtc-node";
import { averageColour, encode, eventually, fallsSilent, hears, isAudio, isVideo } from "./kit.mjs";

const KEY = encode("a shared key");
const encrypted = (sharedKey) => ({ encryption: { keyProviderOptions: { sharedKey } } });

async function audioAndVideo(t, options) {
  const [bob, heard] = await t.join("bob", options);
  const [alice] = await t.join("alice", options);
  const audio = await t.tone(alice, 440);
  const video = await t.colour(alice, [200, 40, 40]);
  const [tone, toneAt, sender] = await heard.wait(RoomEvent.TrackSubscribed, isAudio);
  const [colour, colourAt] = await heard.wait(RoomEvent.TrackSubscribed, isVideo);
  assert.equal(sender.identity, "alice");
  assert.deepEqual([toneAt.sid, toneAt.source, toneAt.name], [audio.sid, TrackSource.SOURCE_MICROPHONE, "tone"]);
  assert.deepEqual([colourAt.sid, colourAt.source], [video.sid, TrackSource.SOURCE_CAMERA]);
  assert.ok(await hears(tone, 440));
  const { red, green, width } = await averageColour(colour);
  assert.ok(red > 150 && green < 100 && width > 0);
  await Promise.all([audio.waitForSubscription(), video.waitForSubscription()]);

  await alice.localParticipant.unpublishTrack(audio.sid);
  const [gone] = await heard.wait(RoomEvent.TrackUnpublished);
  assert.equal(gone.sid, audio.sid);
  assert.deepEqual([...bob.remoteParticipants.get("alice").trackPublications.keys()], [video.sid]);
}

export async function audioAndVideoOverTwoConnections(t) {
  await audioAndVideo(t, { singlePeerConnection: false });
}

export async function audioAndVideoOverOneConnection(t) {
  await audioAndVideo(t, { singlePeerConnection: true });
}

export async function everyVideoCodec(t) {
  const [, seen] = await t.join("bob");
  const [alice] = await t.join("alice");
  const codecs = { "video/VP8": VideoCodec.VP8, "video/VP9": VideoCodec.VP9, "video/H264": VideoCodec.H264, "video/AV1": VideoCodec.AV1 };
  for (const [mimeType, videoCodec] of Object.entries(codecs)) {
    const publication = await t.colour(alice, [40, 200, 40], { videoCodec, simulcast: false });
    const [track, remote] = await seen.wait(RoomEvent.TrackSubscribed, (_, found) => found.sid === publication.sid);
    assert.equal(remote.mimeType.toLowerCase(), mimeType.toLowerCase());
    assert.ok((await averageColour(track)).green > 150, mimeType);
    await alice.localParticipant.unpublishTrack(publication.sid);
  }
}

export async function simulcastToOneWhoSeesIt(t) {
  const [, seen] = await t.join("bob");
  const [alice] = await t.join("alice");
  const publication = await t.colour(alice, [40, 40, 200], { width: 640, height: 360, simulcast: true });
  const [track, remote] = await seen.wait(RoomEvent.TrackSubscribed);
  assert.deepEqual([publication.simulcasted, remote.simulcasted], [true, true]);
  assert.ok((await averageColour(track)).blue > 150);
}

async function lateJoiner(t, options) {
  for (const number of [0, 1]) {
    const [publisher] = await t.join(`publisher-${number}`, options);
    await t.tone(publisher, 400 + 200 * number);
    await t.colour(publisher, [40, 40, 200]);
  }
  const [late, events] = await t.join("late", options);
  await eventually("four tracks", () => events.all(RoomEvent.TrackSubscribed).length === 4);
  for (const [track, , { identity }] of events.all(RoomEvent.TrackSubscribed)) {
    if (isVideo(track)) assert.ok((await averageColour(track)).blue > 150);
    else assert.ok(await hears(track, identity === "publisher-0" ? 400 : 600));
  }
  assert.equal(late.remoteParticipants.size, 2);
}

export async function lateJoinerHearsAndSeesEverythingOverTwoConnections(t) {
  await lateJoiner(t, { singlePeerConnection: false });
}

export async function lateJoinerHearsAndSeesEverythingOverOneConnection(t) {
  await lateJoiner(t, { singlePeerConnection: true });
}

export async function unsubscribeAndSubscribeAgain(t) {
  const [bob, events] = await t.join("bob");
  const [alice] = await t.join("alice");
  await t.tone(alice, 440);
  for (let round = 0; round < 3; round++) {
    const [track, publication] = await events.wait(RoomEvent.TrackSubscribed);
    assert.ok(await hears(track, 440));
    events.forget();
    publication.setSubscribed(false);
    await events.wait(RoomEvent.TrackUnsubscribed);
    assert.equal(publication.subscribed, false);
    assert.equal(bob.remoteParticipants.get("alice").trackPublications.size, 1);
    publication.setSubscribed(true);
  }
  const [track] = await events.wait(RoomEvent.TrackSubscribed);
  assert.ok(await hears(track, 440));
}

export async function nothingIsSubscribedUnlessAskedFor(t) {
  const [, events] = await t.join("bob", { autoSubscribe: false });
  const [alice] = await t.join("alice");
  await t.tone(alice, 440);
  await t.colour(alice, [200, 40, 40]);
  const [audio] = await events.wait(RoomEvent.TrackPublished, isAudio);
  await events.wait(RoomEvent.TrackPublished, isVideo);
  audio.setSubscribed(true);
  const [track] = await events.wait(RoomEvent.TrackSubscribed);
  assert.equal(track.kind, TrackKind.KIND_AUDIO);
  assert.ok(await hears(track, 440));
  assert.equal(events.all(RoomEvent.TrackSubscribed).length, 1);
}

export async function muteByTheServerApi(t) {
  const [bob, events] = await t.join("bob");
  const [alice, own] = await t.join("alice");
  const { sid } = await t.tone(alice, 440);
  const [track] = await events.wait(RoomEvent.TrackSubscribed);
  assert.ok(await hears(track, 440));
  const info = await t.rooms.mutePublishedTrack(t.room, "alice", sid, true);
  assert.deepEqual([info.sid, info.muted], [sid, true]);
  const [muted, who] = await events.wait(RoomEvent.TrackMuted);
  assert.deepEqual([muted.sid, who.identity], [sid, "alice"]);
  await own.wait(RoomEvent.TrackMuted, (_, { identity }) => identity === "alice");
  await fallsSilent(track);
  assert.equal(bob.remoteParticipants.get("alice").trackPublications.get(sid).muted, true);
}

export async function subscriptionsByTheServerApi(t) {
  const [, events] = await t.join("bob");
  const [alice] = await t.join("alice");
  const { sid } = await t.tone(alice, 440);
  const [track] = await events.wait(RoomEvent.TrackSubscribed);
  assert.ok(await hears(track, 440));
  await t.rooms.updateSubscriptions(t.room, "bob", [sid], false);
  await fallsSilent(track);
  events.forget();
  await t.rooms.updateSubscriptions(t.room, "bob", [sid], true);
  const [again] = await events.wait(RoomEvent.TrackSubscribed);
  assert.ok(await hears(again, 440));
}

export async function activeSpeakerIsAnnouncedAndFallsSilent(t) {
  const [, events] = await t.join("bob");
  const [alice] = await t.join("alice");
  const { sid } = await t.tone(alice, 440);
  const [speakers] = await events.wait(RoomEvent.ActiveSpeakersChanged, ({ length }) => length);
  assert.deepEqual(speakers.map(({ identity }) => identity), ["alice"]);
  events.forget();
  await t.rooms.mutePublishedTrack(t.room, "alice", sid, true);
  await events.wait(RoomEvent.ActiveSpeakersChanged, ({ length }) => !length);
}

export async function encryptedMediaIsHeardAndSeenWithTheKey(t) {
  const [, events] = await t.join("bob", encrypted(KEY));
  const [alice] = await t.join("alice", encrypted(KEY));
  await t.tone(alice, 440);
  await t.colour(alice, [40, 200, 40]);
  const [tone, publication] = await events.wait(RoomEvent.TrackSubscribed, isAudio);
  assert.equal(publication.encryptionType, EncryptionType.GCM);
  assert.ok(await hears(tone, 440));
  const [colour] = await events.wait(RoomEvent.TrackSubscribed, isVideo);
  assert.ok((await averageColour(colour)).green > 150);
}

export async function encryptedMediaIsNothingWithoutTheKey(t) {
  const [, wrong] = await t.join("bob", encrypted(encode("another key")));
  const [, none] = await t.join("carol");
  const [alice] = await t.join("alice", encrypted(KEY));
  await t.tone(alice, 440);
  for (const events of [wrong, none]) {
    const [track] = await events.wait(RoomEvent.TrackSubscribed);
    assert.equal(await hears(track, 440, 2), false);
  }
}

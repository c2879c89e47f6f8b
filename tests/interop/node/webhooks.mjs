// livekit-server-sdk: WebhookReceiver takes what the server sends to `port`, and nothing else.
import assert from "node:assert/strict";
import http from "node:http";
import { WebhookReceiver } from "livekit-server-sdk";
import { eventually, rejection } from "./kit.mjs";

/** Listen where the server's webhooks go; each request's event as the receiver gives it. */
async function receiving(t) {
  const receiver = new WebhookReceiver(t.key, t.secret);
  const came = [];
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    const { authorization, "content-type": type } = request.headers;
    const event = await receiver.receive(body, authorization).catch((error) => ({ error }));
    came.push({ body, authorization, type, event });
    response.end();
  });
  await new Promise((resolve) => server.listen(t.more.port, "127.0.0.1", resolve));
  t.endings.push(() => server.close());
  return came.filter.bind(came, ({ event }) => event.error || event.room?.name === t.room);
}

export async function sessionIsToldAndVerified(t) {
  const came = await receiving(t);
  const named = (name) => eventually(name, () => came().find(({ event }) => event.event === name), 15);
  const room = await t.rooms.createRoom({ name: t.room, metadata: "m" });
  const [alice] = await t.join("alice");
  const { sid } = await t.tone(alice);
  await named("track_published");
  await alice.localParticipant.unpublishTrack(sid);
  await named("track_unpublished");
  await alice.disconnect();
  await named("participant_left");
  await t.rooms.deleteRoom(t.room);
  await named("room_finished");

  for (const { event } of came()) assert.equal(event.error, undefined);
  assert.deepEqual(
    came().map(({ event }) => event.event),
    ["room_started", "participant_joined", "track_published", "track_unpublished", "participant_left", "room_finished"],
  );
  const ids = new Set(came().map(({ event }) => event.id));
  assert.equal(ids.size, 6);
  for (const { event, type } of came()) {
    assert.match(event.id, /^EV_/);
    assert.equal(type, "application/webhook+json");
    assert.ok(Math.abs(Number(event.createdAt) - Date.now() / 1_000) < 30);
    assert.equal(event.room.sid, room.sid);
  }
  const { event } = await named("track_published");
  assert.deepEqual([event.participant.identity, event.track.sid, event.track.name], ["alice", sid, "tone"]);
}

export async function whatWasChangedOrIsNotSignedIsRefused(t) {
  const came = await receiving(t);
  await t.rooms.createRoom({ name: t.room });
  const { body, authorization } = await eventually("room_started", () => came()[0]);
  const receiver = new WebhookReceiver(t.key, t.secret);
  assert.equal((await receiver.receive(body, authorization)).event, "room_started");
  assert.equal((await receiver.receive(body, undefined, true)).event, "room_started");
  await rejection(receiver.receive(body));
  await rejection(receiver.receive(`${body} `, authorization));
  await rejection(new WebhookReceiver(t.key, "another secret of that length !!").receive(body, authorization));
  await rejection(new WebhookReceiver("nobody", t.secret).receive(body, authorization));
  await t.rooms.deleteRoom(t.room);
}

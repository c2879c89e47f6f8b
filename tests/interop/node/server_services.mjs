// livekit-server-sdk: dispatches of agents, and the services that need processes of their own.
import assert from "node:assert/strict";
import { RoomEvent } from "@livekit/rtc-node";
import {
  AgentDispatchClient, ConnectorClient, EgressClient, EncodedFileOutput, IngressClient, IngressInput, SipClient, TokenVerifier,
  AccessToken, RoomConfiguration, RoomServiceClient,
} from "livekit-server-sdk";
import { eventually, rejection } from "./kit.mjs";

const refusal = ({ status, code, message }) => [status, code, message];
const notConnected = (service) => [500, "internal", `${service} not connected (redis required)`];

export async function dispatchesAreKeptAndListed(t) {
  const agents = new AgentDispatchClient(t.httpUrl, t.key, t.secret);
  const dispatch = await agents.createDispatch(t.room, "helper", { metadata: "m" });
  assert.match(dispatch.id, /^AD_/);
  assert.deepEqual([dispatch.agentName, dispatch.room, dispatch.metadata], ["helper", t.room, "m"]);
  const second = await agents.createDispatch(t.room, "other");
  const named = async () => (await agents.listDispatch(t.room)).filter(({ agentName }) => agentName).map(({ id }) => id).sort();
  assert.deepEqual(await named(), [dispatch.id, second.id].sort());
  assert.equal((await agents.getDispatch(dispatch.id, t.room)).agentName, "helper");
  assert.equal(await agents.getDispatch("AD_nothing", t.room), undefined);
  await agents.deleteDispatch(dispatch.id, t.room);
  assert.deepEqual(await named(), [second.id]);
  const error = await rejection(agents.deleteDispatch(dispatch.id, t.room));
  assert.deepEqual(refusal(error), [404, "not_found", "dispatch ID not found"]);
  const stranger = new AgentDispatchClient(t.httpUrl, "nobody", t.secret);
  assert.equal((await rejection(stranger.listDispatch(t.room))).status, 401);
}

export async function egressIsNotConnected(t) {
  const egress = new EgressClient(t.httpUrl, t.key, t.secret);
  const file = new EncodedFileOutput({ filepath: "out.mp4" });
  const noRoom = [404, "not_found", "requested room does not exist"];
  for (const start of [
    egress.startRoomCompositeEgress(t.room, { file }), egress.startParticipantEgress(t.room, "alice", { file }),
    egress.startTrackCompositeEgress(t.room, { file }, "TR_a", "TR_v"), egress.startTrackEgress(t.room, file, "TR_a"),
  ].map(rejection))
    assert.deepEqual(refusal(await start), noRoom);
  for (const call of [
    egress.listEgress({}), egress.stopEgress("EG_x"), egress.updateLayout("EG_x", "grid"), egress.updateStream("EG_x", ["rtmp://localhost/x"]),
  ].map(rejection))
    assert.deepEqual(refusal(await call), notConnected("egress"));
}

export async function ingressIsNotConnected(t) {
  const ingress = new IngressClient(t.httpUrl, t.key, t.secret);
  for (const call of [ingress.createIngress(IngressInput.RTMP_INPUT, { name: "n", roomName: t.room, participantIdentity: "p" }), ingress.listIngress({})].map(rejection))
    assert.deepEqual(refusal(await call), notConnected("ingress"));
}

export async function sipIsNotConnected(t) {
  const sip = new SipClient(t.httpUrl, t.key, t.secret);
  // A livekit-server that was built without SIP does not know the service.
  const { status } = await rejection(sip.listSipInboundTrunk());
  for (const call of [
    sip.listSipInboundTrunk(), sip.listSipOutboundTrunk(), sip.listSipDispatchRule(),
    sip.createSipInboundTrunk("n", ["+1"]), sip.createSipOutboundTrunk("n", "sip.example.com", ["+1"]),
    sip.createSipDispatchRule({ type: "direct", roomName: t.room, pin: "" }),
    sip.deleteSipTrunk("ST_x"), sip.deleteSipDispatchRule("SDR_x"),
  ].map(rejection)) {
    const error = await call;
    if (status === 404) assert.equal(error.message, "404 page not found\n");
    else assert.deepEqual(refusal(error), notConnected("sip"));
  }
}

export async function connectorsAreOfTheCloud(t) {
  const connector = new ConnectorClient(t.httpUrl, t.key, t.secret);
  const error = await rejection(connector.disconnectWhatsAppCall("call", "key"));
  assert.deepEqual([error.status, error.message], [404, "404 page not found\n"]);
}

export async function tokensOfTheServerAreVerified(t) {
  const verifier = new TokenVerifier(t.key, t.secret);
  const own = await verifier.verify(await t.token("alice", { grants: { canPublish: false, canPublishSources: [] }, metadata: "m", attributes: { a: "b" } }));
  assert.deepEqual([own.sub, own.iss, own.metadata, own.attributes, own.video.room], ["alice", t.key, "m", { a: "b" }, t.room]);

  // What the server hands out for coming back says what it knows of the participant by then.
  const [alice, events] = await t.join("alice", { grants: { canPublish: false } });
  await events.wait(RoomEvent.TokenRefreshed);
  await t.rooms.updateParticipant(t.room, "alice", { name: "Alice", metadata: "changed" });
  const claims = await eventually("the changed token", async () => {
    const found = await verifier.verify(alice.token);
    return found.metadata === "changed" && found.name === "Alice" && found;
  });
  assert.deepEqual([claims.sub, claims.iss], ["alice", t.key]);
  const { roomJoin, room, canPublish } = claims.video;
  assert.deepEqual({ roomJoin, room, canPublish }, { roomJoin: true, room: t.room, canPublish: false });
  await rejection(new TokenVerifier(t.key, "another secret of that length !!").verify(alice.token));
}

export async function tokenConfiguresTheRoom(t) {
  const token = new AccessToken(t.key, t.secret, { identity: "alice", ttl: "2m" });
  token.addGrant({ roomJoin: true, roomCreate: true, room: t.room });
  token.roomConfig = new RoomConfiguration({ emptyTimeout: 33, departureTimeout: 4, maxParticipants: 2, metadata: "by token" });
  const [alice] = await t.join("alice", { token: await token.toJwt() });
  assert.deepEqual([alice.emptyTimeout, alice.departureTimeout, alice.metadata], [33, 4, "by token"]);
  await t.join("bob");
  await rejection(t.join("carol"));
  const expired = new AccessToken(t.key, t.secret, { identity: "alice", ttl: -120 });
  expired.addGrant({ roomList: true });
  const client = new RoomServiceClient(t.httpUrl, undefined, undefined, { token: await expired.toJwt() });
  const error = await rejection(client.listRooms());
  assert.deepEqual([error.status, error.code], [401, undefined]);
  assert.match(error.message, /token is expired$/);
}

"use strict";
// What the tests call in a page; everything that is asserted is read from here, not from the server.
const lk = LivekitClient;
const state = { events: [], frames: [], pictures: [], streams: [], calls: [] };
let room, dataTrack, keys;

// What an event carries, as JSON: identities of participants, ids of tracks.
const describe = (value) => {
  if (value instanceof lk.Participant) return value.identity;
  if (value instanceof lk.TrackPublication) return value.trackSid;
  if (value instanceof lk.Track) return value.kind;
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  if (value instanceof Error) return value.message;
  if (Array.isArray(value)) return value.map(describe);
  try {
    return JSON.parse(JSON.stringify(value ?? null));
  } catch {
    return String(value);
  }
};

// Joins a room. `options.key`: encrypts end to end with it; "" sets the encryption up without a key.
async function join(url, token, options) {
  const settings = { adaptiveStream: false, dynacast: false, ...options.room };
  if (options.key !== undefined) {
    keys = new lk.ExternalE2EEKeyProvider();
    settings.encryption = { keyProvider: keys, worker: new Worker("/e2ee.worker.js") };
  }
  room = new lk.Room(settings);
  for (const [name, event] of Object.entries(lk.RoomEvent))
    room.on(event, (...values) => state.events.push({ name, values: values.map(describe), at: Date.now() }));
  room.on(lk.RoomEvent.TrackSubscribed, (track, publication) => {
    if (publication.source === lk.Track.Source.Camera) track.attach(document.getElementById("remote"));
    else document.body.append(track.attach());
  });
  room.on(lk.RoomEvent.DataTrackPublished, async (track) => {
    for await (const frame of track.subscribe())
      state.frames.push({ text: new TextDecoder().decode(frame.payload), name: track.info.name });
  });
  if (options.key !== undefined) {
    if (options.key) await keys.setKey(options.key);
    await room.setE2EEEnabled(true);
  }
  await room.connect(url, token, options.connect);
  return { identity: room.localParticipant.identity, sid: room.localParticipant.sid };
}

// Publishing

const SMALL = { width: 640, height: 360, frameRate: 15 };
const publishCamera = async (options) =>
  (await room.localParticipant.setCameraEnabled(true, { resolution: SMALL }, options)).trackSid;
// A camera of 1280x720 with two smaller streams of it.
const publishSimulcast = async () => {
  const [track] = await lk.createLocalTracks({ video: { resolution: { width: 1280, height: 720, frameRate: 15 } } });
  return (await room.localParticipant.publishTrack(track, { simulcast: true })).trackSid;
};
const publishMicrophone = async () => (await room.localParticipant.setMicrophoneEnabled(true)).trackSid;
const publish = async () => [await publishCamera(), await publishMicrophone()];
// A camera of 960x540 in one stream with several layers.
const publishLayers = async (videoCodec, scalabilityMode) => {
  const [track] = await lk.createLocalTracks({ video: { resolution: { width: 960, height: 540, frameRate: 15 } } });
  const videoEncoding = { maxBitrate: 1_000_000, maxFramerate: 15 };
  const options = { videoCodec, scalabilityMode, videoEncoding, backupCodec: false };
  return (await room.localParticipant.publishTrack(track, options)).trackSid;
};
const tone = (context, destination) => {
  const oscillator = context.createOscillator();
  oscillator.connect(destination);
  oscillator.start();
};
// A steady tone as the microphone: Chromium's own beeps too seldom to be a speaker.
const publishTone = async () => {
  const context = new AudioContext();
  const destination = context.createMediaStreamDestination();
  tone(context, destination);
  const options = { source: lk.Track.Source.Microphone };
  return (await room.localParticipant.publishTrack(destination.stream.getAudioTracks()[0], options)).trackSid;
};
// This tab, which is made to flicker and to sound, so that pictures and sound are seen to arrive.
const shareScreen = async () => {
  const context = new AudioContext();
  tone(context, context.destination);
  setInterval(() => (document.body.style.background = Date.now() % 2 ? "white" : "black"), 67);
  const options = { audio: true, selfBrowserSurface: "include", suppressLocalAudioPlayback: false };
  return (await room.localParticipant.setScreenShareEnabled(true, options)).trackSid;
};
const publishDataTrack = async (name) => {
  dataTrack = await room.localParticipant.publishDataTrack({ name });
  return dataTrack.info.sid;
};
const push = (text) => dataTrack.tryPush({ payload: new TextEncoder().encode(text) });
const send = (text, options = { reliable: true, topic: "chat" }) =>
  room.localParticipant.publishData(new TextEncoder().encode(text), options);

// Subscriptions

const publications = () => [...room.remoteParticipants.values()].flatMap((who) => [...who.trackPublications.values()]);
const videos = () => publications().filter((publication) => publication.kind === "video");
const setQuality = (name) => videos().forEach((publication) => publication.setVideoQuality(lk.VideoQuality[name]));
const setEnabled = (enabled) => videos().forEach((publication) => publication.setEnabled(enabled));
const setSubscribed = (subscribed) => publications().forEach((publication) => publication.setSubscribed(subscribed));
// Who may subscribe: identities, or null for everybody.
const allow = (identities) => room.localParticipant.setTrackSubscriptionPermissions(
  identities === null,
  (identities ?? []).map((participantIdentity) => ({ participantIdentity, allowAll: true })));

// Participants

const person = (who) => ({
  sid: who.sid, name: who.name ?? "", metadata: who.metadata ?? "", attributes: { ...who.attributes },
  tracks: [...who.trackPublications.values()].map((publication) => ({
    sid: publication.trackSid, kind: publication.kind, source: publication.source, muted: publication.isMuted,
    encrypted: publication.isEncrypted, subscribed: publication.isSubscribed,
  })),
});
const local = () => ({ ...person(room.localParticipant), permissions: describe(room.localParticipant.permissions) });
const remotes = () =>
  Object.fromEntries([...room.remoteParticipants.values()].map((who) => [who.identity, person(who)]));
// What a call throws, or null: its kind and what it says of itself.
const refusal = (promise) => promise.then(() => null, (error) => ({
  name: error.name, message: error.message, code: error.code ?? null, data: error.data ?? null,
  reason: error.reason ?? null }));

// Streams: read to their ends into state.streams, in pieces as they arrive.

const digest = async (parts) => {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer()));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
};
const receive = (topic) => {
  const read = async (kind, reader, from) => {
    const parts = [];
    for await (const part of reader) parts.push(part);
    const { name, mimeType, size, attributes } = reader.info;
    state.streams.push({ kind, topic, from: from.identity, parts: parts.length, sha256: await digest(parts),
      size, name, mimeType, attributes });
  };
  room.registerTextStreamHandler(topic, (reader, from) => read("text", reader, from));
  room.registerByteStreamHandler(topic, (reader, from) => read("bytes", reader, from));
};
// Data that hardly compresses and that Python makes too (`noise` in chromium.py).
const noise = (size) => {
  const bytes = new Uint8Array(size);
  for (let index = 0, value = 1; index < size; index++) {
    value = (Math.imul(value, 1103515245) + 12345) >>> 0;
    bytes[index] = value >>> 24;
  }
  return bytes;
};
const letters = (size) => [...noise(size)].map((byte) => String.fromCharCode(0x100 + byte)).join("");

// Remote calls

const register = (method, answer) => room.registerRpcMethod(method, async (call) => {
  state.calls.push(method);
  if (answer === "never") await new Promise(() => {});
  if (answer === "error") throw new lk.RpcError(1234, "as asked", call.payload);
  return [...call.payload].reverse().join("");
});
const perform = (destinationIdentity, method, payload, responseTimeout = 10_000) =>
  room.localParticipant.performRpc({ destinationIdentity, method, payload, responseTimeout });

// A browser that neither offers nor answers with a video codec.
const lack = (codec) => {
  const without = (sdp) => {
    const numbers = [...sdp.matchAll(new RegExp(`a=rtpmap:(\\d+) ${codec}/`, "g"))].map((found) => found[1]);
    const repairs = [...sdp.matchAll(/a=fmtp:(\d+) apt=(\d+)/g)]
      .filter((found) => numbers.includes(found[2])).map((found) => found[1]);
    const gone = new Set([...numbers, ...repairs]);
    return sdp.split("\r\n").filter((line) => !gone.has(line.match(/^a=(?:rtpmap|fmtp|rtcp-fb):(\d+)/)?.[1]))
      .map((line) => line.startsWith("m=video")
        ? line.split(" ").filter((word, index) => index < 3 || !gone.has(word)).join(" ") : line)
      .join("\r\n");
  };
  for (const name of ["createOffer", "createAnswer"]) {
    const original = RTCPeerConnection.prototype[name];
    RTCPeerConnection.prototype[name] = async function (...values) {
      const description = await original.apply(this, values);
      return { type: description.type, sdp: without(description.sdp) };
    };
  }
};

// Measuring

// Active encodings of the camera by codec, such as { vp9: 3, vp8: 0 }.
const encodings = () => {
  const found = {};
  for (const { track } of room.localParticipant.videoTrackPublications.values()) {
    const senders = [[track.codec, track.sender], ...[...track.simulcastCodecs]
      .map(([codec, info]) => [codec, info.sender])];
    for (const [codec, sender] of senders)
      if (sender) found[codec] = sender.getParameters().encodings.filter((e) => e.active).length;
  }
  return found;
};

// Inbound statistics by the source of the track.
async function inbound() {
  const found = {};
  for (const publication of publications()) {
    const report = await publication.track?.getRTCStatsReport();
    for (const stat of report?.values() ?? [])
      if (stat.type === "inbound-rtp")
        found[publication.source] = {
          packets: stat.packetsReceived, lost: stat.packetsLost, frames: stat.framesDecoded ?? 0,
          width: stat.frameWidth ?? 0, height: stat.frameHeight ?? 0, energy: stat.totalAudioEnergy ?? 0,
          codec: report.get(stat.codecId)?.mimeType ?? "",
        };
  }
  return found;
}

// Notes when each picture of the other participant is shown, in ms since 1970.
function watchPictures() {
  const video = document.getElementById("remote");
  const shown = () => {
    state.pictures.push(Date.now());
    video.requestVideoFrameCallback(shown);
  };
  video.requestVideoFrameCallback(shown);
}

// The longest time without a picture since `start`, when it ended, and what came after `start`.
function longestGap(start) {
  const seen = state.pictures.filter((at) => at >= start);
  let gap = 0, ended = start, last = start;
  for (const at of seen) {
    if (at - last > gap) [gap, ended] = [at - last, at];
    last = at;
  }
  return { gap, ended: ended - start, since: Date.now() - last, count: seen.length };
}

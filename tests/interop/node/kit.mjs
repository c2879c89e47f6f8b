// What the scenarios share: participants and their events, tones and colours, and the test outside.
import assert from "node:assert/strict";
import readline from "node:readline";
import {
  AudioFrame, AudioSource, AudioStream, LocalAudioTrack, LocalVideoTrack, Room, RoomEvent,
  TrackPublishOptions, TrackSource, VideoBufferType, VideoFrame, VideoSource, VideoStream,
} from "@livekit/rtc-node";
import { AccessToken, RoomServiceClient } from "livekit-server-sdk";

export const RATE = 48_000;

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
export const encode = (text) => new TextEncoder().encode(text);
export const decode = (bytes) => new TextDecoder().decode(bytes);

/** Rejects with what was waited for if `promise` takes longer than `seconds`. */
export async function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out waiting for ${what()}`)), seconds * 1_000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves to what `check` says as soon as that is true. */
export async function eventually(what, check, seconds = 10) {
  const deadline = performance.now() + seconds * 1_000;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`timed out waiting for ${what}`);
    await sleep(50);
  }
}

/** Every event of one room from the moment this is made, in order. */
export class Events {
  constructor(room) {
    this.seen = [];
    this.waiting = new Set();
    for (const name of Object.values(RoomEvent))
      room.on(name, (...values) => {
        this.seen.push([name, values]);
        for (const look of this.waiting) look();
      });
  }

  names = () => this.seen.map(([name]) => name);
  all = (name) => this.seen.filter(([seen]) => seen === name).map(([, values]) => values);
  forget = () => void this.seen.splice(0);

  /** The values of the first event `name` that is accepted, seen or to come. */
  wait(name, accept = () => true, seconds = 10) {
    let look;
    const found = new Promise((resolve) => {
      look = () => {
        const values = this.all(name).find((values) => accept(...values));
        if (values) resolve(values);
      };
      this.waiting.add(look);
      look();
    });
    return within(seconds, () => `${name}; seen: ${this.names()}`, found).finally(() => this.waiting.delete(look));
  }
}

/** One scenario: where the server is, the room, and what must be ended when it is over. */
export class Scenario {
  constructor({ url, room, key, secret, ...more }) {
    Object.assign(this, { url, room, key, secret, more });
    this.httpUrl = url.replace("ws", "http");
    this.rooms = new RoomServiceClient(this.httpUrl, key, secret);
    this.endings = [];
    this.joined = [];
    this.answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  }

  /** Ask the test that started this script to do something; resolves to its answer. */
  async ask(what, value = null) {
    console.log(`ask ${JSON.stringify([what, value])}`);
    return JSON.parse((await this.answers.next()).value);
  }

  async token(identity, { grants = {}, ...options } = {}) {
    const token = new AccessToken(this.key, this.secret, { identity, ...options });
    token.addGrant({ roomJoin: true, room: this.room, ...grants });
    return token.toJwt();
  }

  /** Connect one participant; resolves to its room and its events once the others see it. */
  async join(identity, { grants, url = this.url, token, ...options } = {}) {
    const room = new Room();
    const events = new Events(room);
    const jwt = token ?? (await this.token(identity, { grants }));
    await room.connect(url, jwt, { autoSubscribe: true, dynacast: false, ...options });
    this.endings.push(() => room.disconnect());
    const { sid } = room.localParticipant;
    const seen = (other) => !other.isConnected || other.remoteParticipants.get(identity)?.sid === sid;
    if (!grants?.hidden) await eventually(`${identity} to be seen`, () => this.joined.every(seen));
    this.joined.push(room);
    return [room, events];
  }

  /** Publish a sine as the participant's microphone; resolves to the publication. */
  async tone(room, frequency = 440) {
    const source = new AudioSource(RATE, 1);
    const track = LocalAudioTrack.createAudioTrack("tone", source);
    const options = new TrackPublishOptions({ source: TrackSource.SOURCE_MICROPHONE });
    const publication = await room.localParticipant.publishTrack(track, options);
    this.#play(async (position) => {
      const wave = (_, n) => 12_000 * Math.sin((2 * Math.PI * frequency * (n + (position * RATE) / 100)) / RATE);
      const samples = Int16Array.from({ length: RATE / 100 }, wave);
      await source.captureFrame(new AudioFrame(samples, RATE, 1, samples.length));
    });
    return publication;
  }

  /** Publish one colour as the participant's camera; resolves to the publication. */
  async colour(room, rgb, { width = 320, height = 240, ...options } = {}) {
    const source = new VideoSource(width, height);
    const track = LocalVideoTrack.createVideoTrack("colour", source);
    const publication = await room.localParticipant.publishTrack(
      track, new TrackPublishOptions({ source: TrackSource.SOURCE_CAMERA, ...options }),
    );
    const pixels = Uint8Array.from({ length: width * height * 4 }, (_, n) => [...rgb, 255][n % 4]);
    this.#play(async () => {
      source.captureFrame(new VideoFrame(pixels, width, height, VideoBufferType.RGBA));
      await sleep(66);
    });
    return publication;
  }

  #play(next) {
    let playing = true;
    this.endings.push(() => {
      playing = false;
    });
    (async () => {
      for (let position = 0; playing; position++) await next(position);
    })().catch(() => undefined); // a source that its track closed
  }

  async end() {
    for (const ending of this.endings.reverse()) await ending();
  }
}

/** Resolves to the strongest frequency of the first half second of `track` that is not silent. */
async function dominantFrequency(stream) {
  const heard = [];
  for await (const frame of stream) {
    if (heard.length || frame.data.some((sample) => Math.abs(sample) > 1_000)) heard.push(...frame.data);
    if (heard.length >= RATE / 2) break;
  }
  // Goertzel's algorithm: only frequencies that the scenarios use are told apart.
  const power = (frequency) => {
    const factor = 2 * Math.cos((2 * Math.PI * frequency) / RATE);
    let [last, before] = [0, 0];
    for (const sample of heard) [last, before] = [sample + factor * last - before, last];
    return last * last + before * before - factor * last * before;
  };
  const candidates = Array.from({ length: 60 }, (_, n) => 20 * (n + 1));
  return candidates.reduce((best, frequency) => (power(frequency) > power(best) ? frequency : best));
}

/** Whether `track` carries `frequency` (a multiple of 20 Hz up to 1200) within `seconds`. */
export async function hears(track, frequency, seconds = 15) {
  const stream = new AudioStream(track, RATE, 1);
  try {
    return (await Promise.race([dominantFrequency(stream), sleep(seconds * 1_000)])) === frequency;
  } finally {
    await stream.cancel().catch(() => undefined); // its reader has ended it, or still has it
  }
}

/** Resolves once `track` was silent for half a second. */
export async function fallsSilent(track, seconds = 10) {
  let loud = performance.now();
  const stream = new AudioStream(track, RATE, 1);
  (async () => {
    for await (const frame of stream)
      if (frame.data.some((sample) => Math.abs(sample) > 1_000)) loud = performance.now();
  })().catch(() => undefined); // the stream ends with its track
  await eventually("silence", () => performance.now() - loud > 500, seconds);
}

/** The mean red, green and blue, and the size, of a frame of `track` after the first three. */
export async function averageColour(track, seconds = 15) {
  const stream = new VideoStream(track);
  const look = async () => {
    let skip = 3;
    for await (const { frame } of stream) {
      if (skip--) continue;
      const { data, width, height } = frame.convert(VideoBufferType.RGBA);
      const sums = [0, 0, 0];
      for (let at = 0; at < data.length; at += 4) for (const n of [0, 1, 2]) sums[n] += data[at + n];
      const [red, green, blue] = sums.map((sum) => sum / (width * height));
      return { red, green, blue, width, height };
    }
    throw new Error("the video stream ended");
  };
  return within(seconds, () => "a frame", look());
}

/** The streams that `room` receives on `topic`, each read to its end. */
export function inbox(room, topic) {
  const found = [];
  const read = async (reader, { identity }) => {
    const parts = [];
    for await (const part of reader) parts.push(part);
    const whole = typeof parts[0] === "string" ? parts.join("") : Buffer.concat(parts);
    found.push({ info: reader.info, whole, identity });
  };
  room.registerTextStreamHandler(topic, read);
  room.registerByteStreamHandler(topic, read);
  return {
    found,
    next: () => eventually(`a stream on ${topic}`, () => found.shift(), 20),
  };
}

/** The error that `promise` is rejected with. */
export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail("it was not rejected");
}

export const isAudio = (track) => track.kind === 1;
export const isVideo = (track) => track.kind === 2;

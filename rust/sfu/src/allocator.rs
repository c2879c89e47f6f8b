//! Divides what one subscriber's connection carries among the video tracks sent on it.
//!
//! As long as nothing says otherwise every track gets what the subscriber wants: the allocator is
//! *stable*. When estimates fall, or lost packets stay lost, it brings everything within what the
//! connection carries: layer by layer, so that every track gets its lowest layer before any gets its
//! next, tracks of higher priority first. From then on it is *deficient*: a track that comes or
//! changes has to make do with what is left, and padding is sent now and then to see whether there
//! is room for more. It is stable again once every track gets what is wanted. The rules are
//! LiveKit's (`pkg/sfu/streamallocator`).
//!
//! Pure: it is told the time, what tracks are like ([`StreamAllocator::observe`]) and what the
//! subscriber estimates, and says what each may send ([`StreamAllocator::take_changes`]).

mod layers;
mod probe;
mod track;
mod tracks;

use std::cmp::Reverse;
use std::time::{Duration, Instant};

pub(crate) use layers::PerLayer;
pub use layers::{LayerBitrates, MAX_TEMPORAL_LAYERS, VideoLayer};
pub use track::{Allocation, StreamState, TrackSample};

use crate::bandwidth::{Estimator, EstimatorConfig, ProbeResult, UNLIMITED};
use probe::Probe;
use track::Track;
use tracks::Tracks;

/// Time between two looks at what can be done for tracks that fall short.
const TICK: Duration = Duration::from_millis(100);

/// How bandwidth is divided. The defaults are LiveKit's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AllocatorConfig {
    /// Bits per second that are divided at least, whatever the connection carries.
    pub min_capacity: u64,
    /// A probe sends so much of what the next layer takes in addition, in percent.
    pub probe_overage_percent: u64,
    /// So many bits per second more it sends at least.
    pub probe_min_bps: u64,
    /// If nothing at all was sent for so long, nobody can say any more that the connection is
    /// congested.
    pub paused_min_wait: Duration,
    /// What the connection carries.
    pub estimator: EstimatorConfig,
}

impl Default for AllocatorConfig {
    fn default() -> Self {
        Self {
            min_capacity: 0,
            probe_overage_percent: 120,
            probe_min_bps: 200_000,
            paused_min_wait: Duration::from_secs(5),
            estimator: EstimatorConfig::default(),
        }
    }
}

/// What a video track is, for the allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatedTrack {
    /// Names the track.
    pub key: u64,
    /// A screen share goes before cameras.
    pub screen_share: bool,
    /// It has several spatial layers. A screen share without is never limited.
    pub multi_layered: bool,
}

/// See the module.
#[derive(Debug)]
pub struct StreamAllocator {
    config: AllocatorConfig,
    enabled: bool,
    allow_pause: bool,
    tracks: Tracks,
    deficient: bool,
    estimator: Estimator,
    /// Takes the place of the estimator's capacity, for tests of applications.
    overridden: Option<u64>,
    probe: Option<Probe>,
    next_tick: Option<Instant>,
    /// Media packets sent, and requests repeated, since the last estimate.
    packets: u64,
    repeated_nacks: u64,
    /// When a media packet was sent last, as far as is known.
    sent_at: Instant,
    states: Vec<(u64, StreamState)>,
}

impl StreamAllocator {
    /// An allocator without tracks, with the default configuration. If not `enabled` every track
    /// gets what is wanted, always; if not `allow_pause` every track gets its lowest layer, always.
    pub fn new(now: Instant, enabled: bool, allow_pause: bool) -> Self {
        Self::with_config(now, enabled, allow_pause, AllocatorConfig::default())
    }

    /// The same with another configuration.
    pub fn with_config(
        now: Instant,
        enabled: bool,
        allow_pause: bool,
        config: AllocatorConfig,
    ) -> Self {
        Self {
            config,
            enabled,
            allow_pause,
            tracks: Tracks::default(),
            deficient: false,
            estimator: Estimator::new(now, config.estimator),
            overridden: None,
            probe: None,
            next_tick: None,
            packets: 0,
            repeated_nacks: 0,
            sent_at: now,
            states: Vec::new(),
        }
    }

    /// Whether a track for which there is no room may be paused; if not, it gets its lowest layer.
    pub fn set_allow_pause(&mut self, allow_pause: bool) {
        self.allow_pause = allow_pause;
    }

    /// Whether a change of one track concerns no other.
    pub fn is_stable(&self) -> bool {
        !self.enabled || !self.deficient && !self.estimator.is_congested()
    }

    /// Whether [`Self::handle_timeout`] will look at the tracks.
    pub fn is_looking(&self, now: Instant) -> bool {
        self.next_tick.is_some_and(|at| at <= now)
    }

    /// The keys of the tracks that get less than is wanted of them and there is.
    pub fn deficient_tracks(&self) -> impl Iterator<Item = u64> {
        let deficient = self.tracks.iter().filter(|track| track.deficient);
        deficient.map(|track| track.key)
    }

    /// The subscriber's last estimate in bits per second; none yet: `None`.
    pub fn estimate(&self) -> Option<u64> {
        Some(self.estimator.estimate()).filter(|&bps| bps > 0)
    }

    /// Bits per second that are being divided; `None` while nothing limits them.
    pub fn capacity(&self) -> Option<u64> {
        Some(self.room()).filter(|&bps| self.enabled && bps < UNLIMITED)
    }

    /// The keys of the tracks.
    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.tracks.iter().map(|track| track.key)
    }

    // -- what is told ---------------------------------------------------------------------------

    /// A track is to be sent. [`Self::observe`] and [`Self::track_changed`] follow.
    pub fn add_track(&mut self, track: AllocatedTrack) {
        let priority = if track.screen_share { 255 } else { 1 };
        let managed = !track.screen_share || track.multi_layered;
        self.tracks.push(Track::new(track.key, priority, managed));
    }

    /// A track is not sent any more.
    pub fn remove_track(&mut self, now: Instant, key: u64) {
        self.tracks.remove(key);
        self.adjust_state(now);
        self.raise_deficient(now);
    }

    /// What a track is like now. To be told of every track before each of the calls below.
    pub fn observe(&mut self, now: Instant, key: u64, sample: TrackSample) {
        let Some(before) = self.tracks.observe(key, sample) else {
            return;
        };
        let packets = sample.packets.saturating_sub(before.packets);
        self.packets += packets;
        self.repeated_nacks += sample.repeated_nacks.saturating_sub(before.repeated_nacks);
        if packets > 0 {
            self.sent_at = now;
        }
    }

    /// What is wanted of a track, or what comes from its publisher, may have changed.
    pub fn track_changed(&mut self, now: Instant, key: u64) {
        let Some(at) = self.tracks.find(key) else {
            return;
        };
        if !self.tracks[at].has_changed() {
            return;
        }
        self.stop_probe(now);
        if self.is_stable() || !self.tracks[at].managed {
            self.tracks[at].allocate_optimal();
            return;
        }
        self.cooperate(at);
        self.note_pauses();
        self.raise_deficient(now);
    }

    /// Packets of a track are sent, after none were.
    pub fn resumed(&mut self, key: u64) {
        if let Some(at) = self.tracks.find(key)
            && self.tracks[at].state != StreamState::Active
        {
            self.tracks[at].state = StreamState::Active;
            self.states.push((key, StreamState::Active));
        }
    }

    /// The subscriber estimates that it can receive `bps` bits per second.
    pub fn handle_estimate(&mut self, now: Instant, bps: u64) {
        let packets = std::mem::take(&mut self.packets);
        let repeated = std::mem::take(&mut self.repeated_nacks);
        let expected = self.expected();
        let lowered = self.estimator.take(now, bps, expected, packets, repeated);
        if self.estimator.is_congested() {
            self.stop_probe(now);
        }
        if lowered && self.enabled {
            self.allocate_all(now);
        }
    }

    /// The round trip to the subscriber.
    pub fn set_rtt(&mut self, rtt: Duration) {
        self.estimator.set_rtt(rtt);
    }

    /// As if the connection carried `bps` bits per second; `None`: what it carries.
    pub fn override_capacity(&mut self, now: Instant, bps: Option<u64>) {
        self.overridden = bps;
        if !self.enabled {
            return;
        }
        match bps {
            Some(_) => {
                self.stop_probe(now);
                self.allocate_all(now);
            }
            None => self.raise_deficient(now),
        }
    }

    // -- what is to be done ---------------------------------------------------------------------

    /// What tracks may send, where that changed since the last call.
    pub fn take_changes(&mut self) -> impl Iterator<Item = (u64, Allocation)> + '_ {
        self.tracks.take_changes()
    }

    /// The tracks that were paused for want of room, or are sent again, in order.
    pub fn take_states(&mut self) -> Vec<(u64, StreamState)> {
        std::mem::take(&mut self.states)
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let probe = self.probe.as_ref().map(Probe::next);
        self.next_tick.into_iter().chain(probe).min()
    }

    /// Looks after tracks that fall short. `sent` are all bytes sent so far. Returns how many
    /// bytes of padding to send now; [`Self::padding_sent`] tells how many were.
    pub fn handle_timeout(&mut self, now: Instant, sent: u64) -> u64 {
        if self.is_looking(now) {
            self.next_tick = self.deficient.then_some(now + TICK);
            self.tick(now, sent);
        }
        if self.probe.as_ref().is_some_and(|p| p.is_done(now, sent)) {
            self.stop_probe(now);
        }
        self.probe.as_mut().map_or(0, |probe| probe.due(now))
    }

    /// So many bytes of padding were sent.
    pub fn padding_sent(&mut self, bytes: u64) {
        if let Some(probe) = &mut self.probe {
            probe.padding_sent(bytes);
        }
    }

    // -- time -----------------------------------------------------------------------------------

    fn tick(&mut self, now: Instant, sent: u64) {
        let silence = now.saturating_duration_since(self.sent_at);
        let idle = silence > self.config.paused_min_wait;
        if self.allow_pause && self.estimator.is_congested() && idle {
            self.probe = None;
            self.estimator.forget_congestion(now);
        }
        if self.estimator.probe_reached() {
            self.stop_probe(now);
        }
        if self.estimator.take_probe_result(now) == Some(ProbeResult::Clear) {
            self.raise_deficient(now);
        }
        let changed = self.tracks.iter().filter(|track| track.has_changed());
        let changed: Vec<_> = changed.map(|track| track.key).collect();
        for key in changed {
            self.track_changed(now, key);
        }
        self.maybe_probe(now, sent);
    }

    fn maybe_probe(&mut self, now: Instant, sent: u64) {
        if !self.deficient || self.overridden.is_some() || !self.estimator.may_probe(now) {
            return;
        }
        let next = self.farthest_first().into_iter().find_map(|at| {
            let track = &self.tracks[at];
            let (_, delta) = track.next_higher().filter(|_| track.has_settled())?;
            u64::try_from(delta).ok()
        });
        let Some(delta) = next else { return };
        let expected = self.expected();
        let overage = delta.saturating_mul(self.config.probe_overage_percent) / 100;
        let more = overage.max(self.config.probe_min_bps);
        let (goal, duration) = (expected + more, self.estimator.probe_duration());
        self.probe = Some(Probe::new(now, duration, goal, expected, sent));
        self.estimator.probe_began(now, expected, goal);
    }

    fn stop_probe(&mut self, now: Instant) {
        if self.probe.take().is_some() {
            self.estimator.probe_ended(now);
        }
    }

    // -- allocation -----------------------------------------------------------------------------

    /// Hands everything out anew: layer by layer, by priority.
    fn allocate_all(&mut self, now: Instant) {
        let mut room = self.room() as i64;
        for track in self.tracks.iter_mut().filter(|track| !track.managed) {
            track.allocate_optimal();
            room -= track.expected() as i64;
        }
        room = room.max(0);
        let (nothing, allow_pause) = (room == 0, self.allow_pause);
        self.tracks
            .sort_by_key(|t| (Reverse(t.priority), Reverse(t.sample.max), t.key));
        let mut managed: Vec<_> = self.tracks.iter_mut().filter(|t| t.managed).collect();
        managed.iter_mut().for_each(|track| track.prepare());
        if !(nothing && allow_pause) {
            for layer in VideoLayer::all() {
                for track in &mut managed {
                    let taken = track.offer(room, layer, allow_pause).unwrap_or(0);
                    room = (room - taken).max(0);
                }
            }
        }
        managed.iter_mut().for_each(|track| track.commit());
        self.note_pauses();
        self.adjust_state(now);
    }

    /// One track changed while others fall short: it takes no more than is left, unless it would
    /// not be sent at all. What it gives back is not handed out yet.
    fn cooperate(&mut self, at: usize) {
        let others = self.expected() as i64 - self.tracks[at].expected() as i64;
        let room = self.room() as i64 - others;
        let transition = self.tracks[at].cooperate();
        if transition.from >= transition.to {
            return self.tracks[at].commit();
        }
        let track = &mut self.tracks[at];
        track.prepare();
        let mut fits = false;
        let mut left = room;
        for layer in VideoLayer::all() {
            if let Some(taken) = track.offer(left, layer, true) {
                left -= taken;
                fits = true;
            }
        }
        if fits {
            return track.commit();
        }
        let transition = track.cooperate();
        let needed = transition.delta - room.max(0);
        if self.collect(at, needed) || !self.allow_pause {
            self.tracks[at].commit();
        } else {
            self.tracks[at].pause();
        }
    }

    /// Has others give `needed` bits per second to the track at `at`: those of the lowest priority
    /// first, and among them those that have most of what they want. Returns false, and changes
    /// nothing, if they cannot.
    fn collect(&mut self, at: usize, needed: i64) -> bool {
        let mut order: Vec<_> = (0..self.tracks.len())
            .filter(|&other| other != at && self.tracks[other].managed)
            .collect();
        let key = |&at: &usize| (self.tracks[at].priority, self.tracks[at].distance());
        order.sort_by(|a, b| {
            let ((a_priority, a_distance), (b_priority, b_distance)) = (key(a), key(b));
            let priority = a_priority.cmp(&b_priority);
            priority.then(a_distance.total_cmp(&b_distance))
        });
        let mut collected = 0;
        let mut givers = Vec::new();
        for other in order {
            let offer = self.tracks[other].best_offer();
            if offer.delta < 0 {
                collected -= offer.delta;
                givers.push(other);
            }
            if collected >= needed {
                break;
            }
        }
        if collected < needed {
            return false;
        }
        givers
            .into_iter()
            .for_each(|giver| self.tracks[giver].commit());
        true
    }

    /// Gives what is left to tracks that fall short, one step after the other.
    fn raise_deficient(&mut self, now: Instant) {
        let mut room = self.room() as i64 - self.expected() as i64;
        while room > 0 {
            let order = self.farthest_first();
            let mut raised = order.into_iter().map(|at| self.tracks[at].raise(room));
            let Some(delta) = raised.find_map(|delta| delta) else {
                break;
            };
            room -= delta;
        }
        self.adjust_state(now);
    }

    /// The tracks that fall short: by priority, those farthest from what they want first.
    fn farthest_first(&self) -> Vec<usize> {
        let tracks = self.tracks.iter().enumerate();
        let short = tracks.filter(|(_, track)| track.managed && track.deficient);
        let mut order: Vec<_> = short
            .map(|(at, track)| (Reverse(track.priority), track.distance(), at))
            .collect();
        order.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
        order.into_iter().map(|(_, _, at)| at).collect()
    }

    fn note_pauses(&mut self) {
        for track in self.tracks.iter_mut() {
            let paused = track.allocation() == Allocation::Paused;
            if paused && track.state != StreamState::Paused {
                track.state = StreamState::Paused;
                self.states.push((track.key, StreamState::Paused));
            }
        }
    }

    /// Deficient or stable, whichever it is. Once stable nothing limits the tracks any more.
    fn adjust_state(&mut self, now: Instant) {
        let deficient = self.tracks.iter().any(|track| track.deficient);
        if !deficient {
            for track in self.tracks.iter_mut() {
                track.allocate_optimal();
            }
        }
        if deficient == self.deficient {
            return;
        }
        self.deficient = deficient;
        self.next_tick = deficient.then_some(now + TICK);
        if !deficient {
            self.probe = None;
            self.estimator.reset(now);
        }
    }

    // -- sums -----------------------------------------------------------------------------------

    fn room(&self) -> u64 {
        let carried = self.estimator.capacity().max(self.config.min_capacity);
        self.overridden.unwrap_or(carried)
    }

    fn expected(&self) -> u64 {
        self.tracks.iter().map(Track::expected).sum()
    }
}

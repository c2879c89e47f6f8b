//! Which layer a packet belongs to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::params::Encoding;

/// The layer of an ssrc, and whether it is the layer's retransmissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) ssrc: u32,
    pub(crate) layer: u8,
    pub(crate) rtx: bool,
}

/// What tells an ssrc that is not known yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hints<'a> {
    pub(crate) rid: Option<&'a [u8]>,
    pub(crate) repaired_rid: Option<&'a [u8]>,
    /// The payload type is one of retransmissions.
    pub(crate) rtx: bool,
}

/// Why an ssrc has no layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unbound {
    /// Nothing tells which.
    Unknown,
    /// It had one, and another ssrc took its place.
    Replaced,
}

/// Replaced ssrcs that are remembered, per receiver: the oldest is forgotten for a newer one.
const MAX_REPLACED: usize = 16;

/// Ssrcs that nothing tells the layer of, and that are watched: the oldest is forgotten for a newer one.
const MAX_STRAYS: usize = 8;

/// What is sent for so long, in so many packets, with nothing to tell what it is, gets a layer that is free.
/// Those that are told come first, within the first packets of a stream.
const STRAY_WAIT: Duration = Duration::from_secs(1);
const STRAY_PACKETS: u32 = 10;

/// An ssrc that nothing tells the layer of.
#[derive(Clone, Copy, Debug)]
struct Stray {
    ssrc: u32,
    since: Instant,
    packets: u32,
}

/// The ssrcs of one receiver: those signalled, and those learnt from the rid extensions.
#[derive(Debug)]
pub(crate) struct Bindings {
    bound: Vec<Binding>,
    /// Those that were signalled later and that nothing came of yet: what is bound goes on until then.
    announced: Vec<Binding>,
    strays: VecDeque<Stray>,
    /// Ssrcs that others took the place of, the oldest first.
    replaced: VecDeque<u32>,
    /// Layers by rid.
    rids: Vec<(String, u8)>,
    /// The layer of whatever comes, if there is only one.
    only: Option<u8>,
    /// All layers, lowest first.
    layers: Vec<u8>,
}

impl Bindings {
    pub(crate) fn new(encodings: &[Encoding]) -> Self {
        let mut bindings = Self {
            bound: signalled(encodings),
            announced: Vec::new(),
            strays: VecDeque::new(),
            replaced: VecDeque::new(),
            rids: Vec::new(),
            only: None,
            layers: Vec::new(),
        };
        bindings.set_encodings(encodings);
        bindings
    }

    fn set_encodings(&mut self, encodings: &[Encoding]) {
        let rids = encodings.iter().filter_map(|encoding| {
            let rid = encoding.rid.clone()?;
            Some((rid, encoding.spatial))
        });
        self.rids = rids.collect();
        self.only = match encodings {
            [] => Some(0),
            [only] => Some(only.spatial),
            _ => None,
        };
        self.layers = encodings.iter().map(|encoding| encoding.spatial).collect();
        self.layers.sort_unstable();
    }

    /// Other encodings were negotiated. What goes on under its rid or its ssrc stays bound, to its layer of
    /// from now on; a signalled ssrc takes the place of another when it comes. What is not sent any more
    /// is late where it still comes, and takes no other's place.
    pub(crate) fn renegotiate(&mut self, encodings: &[Encoding]) {
        let before = std::mem::take(&mut self.rids);
        self.set_encodings(encodings);
        self.announced = signalled(encodings);
        for mut bound in std::mem::take(&mut self.bound) {
            let told = self.announced.iter().find(|told| told.ssrc == bound.ssrc);
            let told = told.copied();
            let mut rids = before.iter().filter(|(_, layer)| *layer == bound.layer);
            let rid = rids.next().filter(|_| !self.rids.is_empty());
            let layer = match (told, rid) {
                (Some(told), _) => (told.rtx == bound.rtx).then_some(told.layer),
                (None, Some((rid, _))) => {
                    let known = self.rids.iter().find(|(known, _)| known == rid);
                    known.map(|&(_, layer)| layer)
                }
                (None, None) => self.layers.contains(&bound.layer).then_some(bound.layer),
            };
            if let Some(layer) = layer {
                bound.layer = layer;
                self.bound.push(bound);
            } else if told.is_none() {
                self.replace(bound.ssrc);
            }
        }
        let announced = &self.announced;
        let is_told = |ssrc: u32| announced.iter().any(|told| told.ssrc == ssrc);
        self.replaced.retain(|&ssrc| !is_told(ssrc));
    }

    fn replace(&mut self, ssrc: u32) {
        if self.replaced.len() >= MAX_REPLACED {
            self.replaced.pop_front();
        }
        self.replaced.push_back(ssrc);
    }

    /// The binding of a known ssrc.
    #[inline]
    pub(crate) fn get(&self, ssrc: u32) -> Option<Binding> {
        self.bound.iter().copied().find(|bound| bound.ssrc == ssrc)
    }

    /// Binds an unknown ssrc by what its packet says. It takes the place of the layer's ssrc before it,
    /// if there was one: the publisher began anew. One that was replaced itself does so only if its
    /// layer is not `active`, so that late packets change nothing.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        ssrc: u32,
        hints: Hints<'_>,
        active: impl Fn(u8) -> bool,
    ) -> Result<Binding, Unbound> {
        let rid = if hints.rtx {
            hints.repaired_rid.or(hints.rid)
        } else {
            hints.rid
        };
        let by_rid = rid.and_then(|rid| {
            let known = self.rids.iter().find(|(known, _)| known.as_bytes() == rid);
            known.map(|&(_, layer)| layer)
        });
        let mut announced = self.announced.iter().filter(|bound| bound.ssrc == ssrc);
        let by_ssrc = announced.next().map(|bound| bound.layer);
        let told = by_ssrc.or(by_rid).or(self.only);
        let layer = match told {
            Some(layer) => layer,
            None => {
                let free = self.take_stray(now, ssrc, hints, &active);
                free.ok_or(Unbound::Unknown)?
            }
        };
        if self.replaced.contains(&ssrc) && active(layer) {
            return Err(Unbound::Replaced);
        }
        let rtx = hints.rtx;
        let binding = Binding { ssrc, layer, rtx };
        self.make_room(binding);
        self.bound.push(binding);
        Ok(binding)
    }

    /// The lowest layer of which nothing comes, for media that nothing tells the layer of, once it has come
    /// for long enough. Its encoder began anew with another ssrc, or it names its rids otherwise than it said.
    fn take_stray(
        &mut self,
        now: Instant,
        ssrc: u32,
        hints: Hints<'_>,
        active: impl Fn(u8) -> bool,
    ) -> Option<u8> {
        if hints.rtx || self.replaced.contains(&ssrc) {
            return None;
        }
        let Some(at) = self.strays.iter().position(|stray| stray.ssrc == ssrc) else {
            if self.strays.len() >= MAX_STRAYS {
                self.strays.pop_front();
            }
            self.strays.push_back(Stray {
                ssrc,
                since: now,
                packets: 1,
            });
            return None;
        };
        let stray = &mut self.strays[at];
        stray.packets = stray.packets.saturating_add(1);
        let waited = now.saturating_duration_since(stray.since) >= STRAY_WAIT;
        if !waited || stray.packets < STRAY_PACKETS {
            return None;
        }
        let layer = self.layers.iter().copied().find(|&layer| !active(layer))?;
        self.strays.remove(at);
        Some(layer)
    }

    /// Unbinds what `binding` takes the place of.
    fn make_room(&mut self, binding: Binding) {
        self.replaced.retain(|&ssrc| ssrc != binding.ssrc);
        let replaced = &mut self.replaced;
        let mut began_anew = false;
        self.bound.retain(|bound| {
            let same = (bound.layer, bound.rtx) == (binding.layer, binding.rtx);
            if same {
                began_anew = !binding.rtx;
                if replaced.len() >= MAX_REPLACED {
                    replaced.pop_front();
                }
                replaced.push_back(bound.ssrc);
            }
            !same
        });
        if began_anew {
            // Retransmissions of what was before. Should it be the ssrc of those to come, which were
            // faster than the media, it is learnt again.
            self.bound.retain(|bound| bound.layer != binding.layer);
        }
    }

    /// All ssrcs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Binding> {
        self.bound.iter().chain(&self.announced).copied()
    }
}

/// The ssrcs that `encodings` name.
fn signalled(encodings: &[Encoding]) -> Vec<Binding> {
    let of = |encoding: &Encoding| {
        let layer = encoding.spatial;
        let ssrcs = [(encoding.ssrc, false), (encoding.rtx_ssrc, true)];
        ssrcs.map(|(ssrc, rtx)| ssrc.map(|ssrc| Binding { ssrc, layer, rtx }))
    };
    encodings.iter().flat_map(of).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Hints<'_> = Hints {
        rid: None,
        repaired_rid: None,
        rtx: false,
    };

    fn now() -> Instant {
        static NOW: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *NOW.get_or_init(Instant::now)
    }

    fn never(_: u8) -> bool {
        false
    }

    fn simulcast() -> Bindings {
        let encoding = |spatial, rid: &str| Encoding {
            spatial,
            rid: Some(rid.to_owned()),
            ..Encoding::default()
        };
        Bindings::new(&[encoding(0, "q"), encoding(1, "h"), encoding(2, "f")])
    }

    #[test]
    fn by_rid_and_repaired_rid() {
        let mut bindings = simulcast();
        let hints = Hints {
            rid: Some(b"h"),
            ..NOTHING
        };
        let learnt = bindings.learn(now(), 11, hints, never).unwrap();
        assert_eq!((learnt.layer, learnt.rtx), (1, false));
        let hints = Hints {
            repaired_rid: Some(b"h"),
            rtx: true,
            ..NOTHING
        };
        let learnt = bindings.learn(now(), 12, hints, never).unwrap();
        assert_eq!((learnt.layer, learnt.rtx), (1, true));
        assert_eq!(bindings.get(11).map(|bound| bound.layer), Some(1));
        let hints = Hints {
            rid: Some(b"x"),
            ..NOTHING
        };
        for hints in [hints, NOTHING] {
            let learnt = bindings.learn(now(), 13, hints, never);
            assert_eq!(learnt, Err(Unbound::Unknown));
        }
    }

    #[test]
    fn a_new_ssrc_of_a_rid_replaces_the_old_one() {
        let mut bindings = simulcast();
        for ssrc in 0..1000 {
            let hints = Hints {
                rid: Some(b"q"),
                ..NOTHING
            };
            bindings.learn(now(), ssrc, hints, never).unwrap();
        }
        assert_eq!(bindings.iter().count(), 1);
        assert_eq!(bindings.get(0), None);
        assert_eq!(bindings.replaced.len(), MAX_REPLACED);
    }

    #[test]
    fn signalled_ssrcs_are_known_at_once() {
        let bindings = Bindings::new(&[Encoding {
            spatial: 0,
            rid: None,
            ssrc: Some(1),
            rtx_ssrc: Some(2),
        }]);
        assert_eq!(bindings.get(1).map(|bound| bound.rtx), Some(false));
        assert_eq!(bindings.get(2).map(|bound| bound.rtx), Some(true));
    }

    #[test]
    fn a_single_encoding_takes_what_comes() {
        let mut bindings = Bindings::new(&[]);
        let learnt = bindings.learn(now(), 5, NOTHING, never);
        assert_eq!(learnt.map(|bound| bound.layer), Ok(0));
    }

    #[test]
    fn a_replaced_ssrc_comes_back_only_when_the_other_is_silent() {
        let rtx = Hints {
            rtx: true,
            ..NOTHING
        };
        for hints in [NOTHING, rtx] {
            let mut bindings = Bindings::new(&[]);
            bindings.learn(now(), 5, hints, |_| true).unwrap();
            bindings.learn(now(), 6, hints, |_| true).unwrap();
            let late = bindings.learn(now(), 5, hints, |_| true);
            assert_eq!(late, Err(Unbound::Replaced));
            assert!(bindings.get(6).is_some());
            bindings.learn(now(), 5, hints, never).unwrap();
            assert_eq!(bindings.get(6), None);
            let late = bindings.learn(now(), 6, hints, |_| true);
            assert_eq!(late, Err(Unbound::Replaced));
        }
    }

    #[test]
    fn retransmissions_are_learnt_anew_with_their_media() {
        let mut bindings = Bindings::new(&[Encoding {
            spatial: 0,
            rid: None,
            ssrc: Some(1),
            rtx_ssrc: Some(2),
        }]);
        bindings.learn(now(), 3, NOTHING, |_| true).unwrap();
        let ssrcs: Vec<_> = bindings.iter().map(|bound| bound.ssrc).collect();
        assert_eq!(ssrcs, [3]);
        let rtx = Hints {
            rtx: true,
            ..NOTHING
        };
        for ssrc in [2, 4] {
            bindings.learn(now(), ssrc, rtx, |_| true).unwrap();
        }
        assert_eq!(
            bindings.learn(now(), 2, rtx, |_| true),
            Err(Unbound::Replaced)
        );
    }

    fn with_ssrcs(ssrcs: &[u32]) -> Vec<Encoding> {
        let encoding = |(spatial, &ssrc)| Encoding {
            spatial,
            ssrc: Some(ssrc),
            ..Encoding::default()
        };
        (0..).zip(ssrcs).map(encoding).collect()
    }

    #[test]
    fn a_signalled_ssrc_takes_a_layer_when_it_comes() {
        let mut bindings = Bindings::new(&with_ssrcs(&[1, 2]));
        bindings.renegotiate(&with_ssrcs(&[1, 3]));
        assert_eq!(bindings.get(2).map(|bound| bound.layer), Some(1));
        let learnt = bindings.learn(now(), 3, NOTHING, |_| true);
        assert_eq!(learnt.map(|bound| bound.layer), Ok(1));
        assert_eq!(bindings.get(2), None);
        // And back, at once.
        bindings.renegotiate(&with_ssrcs(&[1, 2]));
        let learnt = bindings.learn(now(), 2, NOTHING, |_| true);
        assert_eq!(learnt.map(|bound| bound.layer), Ok(1));
    }

    #[test]
    fn what_has_a_rid_stays_bound_to_the_layer_of_its_rid() {
        let mut bindings = simulcast();
        for (ssrc, rid) in [(1, b"q"), (2, b"h"), (3, b"f")] {
            let hints = Hints {
                rid: Some(rid),
                ..NOTHING
            };
            bindings.learn(now(), ssrc, hints, never).unwrap();
        }
        let encoding = |spatial, rid: &str| Encoding {
            spatial,
            rid: Some(rid.to_owned()),
            ..Encoding::default()
        };
        bindings.renegotiate(&[encoding(0, "h"), encoding(1, "f")]);
        let layers = [1, 2, 3].map(|ssrc| bindings.get(ssrc).map(|bound| bound.layer));
        assert_eq!(layers, [None, Some(0), Some(1)]);
        // Late packets of what is left out take nobody's place.
        bindings.renegotiate(&[encoding(0, "f")]);
        for ssrc in [1, 2] {
            let late = bindings.learn(now(), ssrc, NOTHING, |_| true);
            assert_eq!(late, Err(Unbound::Replaced));
        }
        assert_eq!(bindings.get(3).map(|bound| bound.layer), Some(0));
    }

    #[test]
    fn a_stray_that_stays_gets_a_layer_that_is_free() {
        let unknown = Hints {
            rid: Some(b"x"),
            ..NOTHING
        };
        for hints in [NOTHING, unknown] {
            let mut bindings = simulcast();
            let rtx = Hints { rtx: true, ..hints };
            let mut learn = |ms: u64, hints| {
                let at = now() + Duration::from_millis(ms);
                bindings.learn(at, 9, hints, |layer| layer == 0)
            };
            for packet in 0..20 {
                assert_eq!(learn(40 * packet, hints), Err(Unbound::Unknown));
                assert_eq!(learn(1000 + packet, rtx), Err(Unbound::Unknown));
            }
            assert_eq!(learn(1000, hints).map(|bound| bound.layer), Ok(1));
        }
        let mut bindings = simulcast();
        for ssrc in 0..1000 {
            let learnt = bindings.learn(now(), ssrc, NOTHING, never);
            assert_eq!(learnt, Err(Unbound::Unknown));
        }
        assert_eq!(bindings.strays.len(), MAX_STRAYS);
    }
}

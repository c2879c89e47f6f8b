//! Which layer a packet belongs to.

use std::collections::VecDeque;

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

/// The ssrcs of one receiver: those signalled, and those learnt from the rid extensions.
#[derive(Debug)]
pub(crate) struct Bindings {
    bound: Vec<Binding>,
    /// Ssrcs that others took the place of, the oldest first.
    replaced: VecDeque<u32>,
    /// Layers by rid.
    rids: Vec<(String, u8)>,
    /// The layer of whatever comes, if there is only one.
    only: Option<u8>,
}

impl Bindings {
    pub(crate) fn new(encodings: &[Encoding]) -> Self {
        let mut bound = Vec::new();
        for encoding in encodings {
            for (ssrc, rtx) in [(encoding.ssrc, false), (encoding.rtx_ssrc, true)] {
                bound.extend(ssrc.map(|ssrc| Binding {
                    ssrc,
                    layer: encoding.spatial,
                    rtx,
                }));
            }
        }
        let rids = encodings.iter().filter_map(|encoding| {
            let rid = encoding.rid.clone()?;
            Some((rid, encoding.spatial))
        });
        Self {
            bound,
            replaced: VecDeque::new(),
            rids: rids.collect(),
            only: match encodings {
                [] => Some(0),
                [only] => Some(only.spatial),
                _ => None,
            },
        }
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
        let layer = by_rid.or(self.only).ok_or(Unbound::Unknown)?;
        if self.replaced.contains(&ssrc) && active(layer) {
            return Err(Unbound::Replaced);
        }
        let rtx = hints.rtx;
        let binding = Binding { ssrc, layer, rtx };
        self.make_room(binding);
        self.bound.push(binding);
        Ok(binding)
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
        self.bound.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Hints<'_> = Hints {
        rid: None,
        repaired_rid: None,
        rtx: false,
    };

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
        let learnt = bindings.learn(11, hints, never).unwrap();
        assert_eq!((learnt.layer, learnt.rtx), (1, false));
        let hints = Hints {
            repaired_rid: Some(b"h"),
            rtx: true,
            ..NOTHING
        };
        let learnt = bindings.learn(12, hints, never).unwrap();
        assert_eq!((learnt.layer, learnt.rtx), (1, true));
        assert_eq!(bindings.get(11).map(|bound| bound.layer), Some(1));
        let hints = Hints {
            rid: Some(b"x"),
            ..NOTHING
        };
        for hints in [hints, NOTHING] {
            let learnt = bindings.learn(13, hints, never);
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
            bindings.learn(ssrc, hints, never).unwrap();
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
        let learnt = bindings.learn(5, NOTHING, never);
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
            bindings.learn(5, hints, |_| true).unwrap();
            bindings.learn(6, hints, |_| true).unwrap();
            let late = bindings.learn(5, hints, |_| true);
            assert_eq!(late, Err(Unbound::Replaced));
            assert!(bindings.get(6).is_some());
            bindings.learn(5, hints, never).unwrap();
            assert_eq!(bindings.get(6), None);
            let late = bindings.learn(6, hints, |_| true);
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
        bindings.learn(3, NOTHING, |_| true).unwrap();
        let ssrcs: Vec<_> = bindings.iter().map(|bound| bound.ssrc).collect();
        assert_eq!(ssrcs, [3]);
        let rtx = Hints {
            rtx: true,
            ..NOTHING
        };
        for ssrc in [2, 4] {
            bindings.learn(ssrc, rtx, |_| true).unwrap();
        }
        assert_eq!(bindings.learn(2, rtx, |_| true), Err(Unbound::Replaced));
    }
}

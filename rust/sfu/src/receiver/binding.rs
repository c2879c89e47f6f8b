//! Which layer a packet belongs to.

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

/// The ssrcs of one receiver: those signalled, and those learnt from the rid extensions.
#[derive(Debug)]
pub(crate) struct Bindings {
    bound: Vec<Binding>,
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

    /// Binds an unknown ssrc by what its packet says. The layer's ssrc before it, if there was one,
    /// is forgotten: the publisher began anew.
    pub(crate) fn learn(&mut self, ssrc: u32, hints: Hints<'_>) -> Option<Binding> {
        let rid = if hints.rtx {
            hints.repaired_rid.or(hints.rid)
        } else {
            hints.rid
        };
        let by_rid = rid.and_then(|rid| {
            let known = self.rids.iter().find(|(known, _)| known.as_bytes() == rid);
            known.map(|&(_, layer)| layer)
        });
        let layer = by_rid.or(self.only)?;
        let rtx = hints.rtx;
        self.bound
            .retain(|bound| (bound.layer, bound.rtx) != (layer, rtx));
        let binding = Binding { ssrc, layer, rtx };
        self.bound.push(binding);
        Some(binding)
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
        let learnt = bindings.learn(11, hints).unwrap();
        assert_eq!((learnt.layer, learnt.rtx), (1, false));
        let hints = Hints {
            repaired_rid: Some(b"h"),
            rtx: true,
            ..NOTHING
        };
        let learnt = bindings.learn(12, hints).unwrap();
        assert_eq!((learnt.layer, learnt.rtx), (1, true));
        assert_eq!(bindings.get(11).map(|bound| bound.layer), Some(1));
        let hints = Hints {
            rid: Some(b"x"),
            ..NOTHING
        };
        assert_eq!(bindings.learn(13, hints), None);
        assert_eq!(bindings.learn(13, NOTHING), None);
    }

    #[test]
    fn a_new_ssrc_of_a_rid_replaces_the_old_one() {
        let mut bindings = simulcast();
        for ssrc in 0..1000 {
            let hints = Hints {
                rid: Some(b"q"),
                ..NOTHING
            };
            bindings.learn(ssrc, hints);
        }
        assert_eq!(bindings.iter().count(), 1);
        assert_eq!(bindings.get(0), None);
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
        assert_eq!(bindings.learn(5, NOTHING).map(|bound| bound.layer), Some(0));
    }
}

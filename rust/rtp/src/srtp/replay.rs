//! Replay protection (RFC 3711 3.3.2) with a bitmap in a ring of words (RFC 6479).

/// A replay window over the last `(WORDS - 1) * 64` packet indices at least. `WORDS` is a power of
/// two, and at least 2.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayWindow<const WORDS: usize> {
    /// The highest index accepted; `None` before the first.
    highest: Option<u64>,
    /// Bit `index % 64` of word `index / 64 % WORDS` is set if `index` was accepted.
    bitmap: [u64; WORDS],
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        const { assert!(WORDS.is_power_of_two() && WORDS >= 2) };
        Self {
            highest: None,
            bitmap: [0; WORDS],
        }
    }
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    /// A window that takes everything up to `highest` for a replay.
    pub(super) fn after(highest: u64) -> Self {
        let mut bitmap = [!0; WORDS];
        bitmap[Self::word(highest)] = !0 >> (63 - highest % 64);
        Self {
            highest: Some(highest),
            bitmap,
        }
    }

    /// The highest index accepted.
    #[inline]
    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether `index` was accepted before or is too old to tell.
    #[inline]
    pub(super) fn is_replay(&self, index: u64) -> bool {
        let Some(highest) = self.highest else {
            return false;
        };
        if index > highest {
            return false;
        }
        highest / 64 - index / 64 >= WORDS as u64
            || self.bitmap[Self::word(index)] & bit(index) != 0
    }

    /// Accepts `index`, which must not be a replay.
    #[inline]
    pub(super) fn accept(&mut self, index: u64) {
        let old = self.highest.unwrap_or(0);
        if index > old {
            let fresh = (index / 64 - old / 64).min(WORDS as u64);
            for step in 0..fresh {
                self.bitmap[Self::word(index - 64 * step)] = 0;
            }
        }
        self.highest = Some(index.max(old));
        self.bitmap[Self::word(index)] |= bit(index);
    }

    #[inline]
    fn word(index: u64) -> usize {
        (index / 64) as usize % WORDS
    }
}

#[inline]
fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    type Window = ReplayWindow<4>;

    #[test]
    fn accepts_each_index_once() {
        let mut window = Window::default();
        for index in [0, 1, 5, 3, 100, 64, 63, 1000, 990] {
            assert!(!window.is_replay(index), "{index}");
            window.accept(index);
            assert!(window.is_replay(index), "{index}");
        }
        assert_eq!(window.highest(), Some(1000));
    }

    #[test]
    fn refuses_what_is_older_than_the_window() {
        let mut window = Window::default();
        window.accept(1000);
        assert!(!window.is_replay(1000 - 192));
        assert!(window.is_replay(1000 - 256));
    }

    #[test]
    fn a_jump_clears_the_words_it_passes() {
        let mut window = Window::default();
        (0..256).for_each(|index| window.accept(index));
        window.accept(300);
        assert!(window.is_replay(255));
        assert!((256..300).all(|index| !window.is_replay(index)));
        window.accept(100_000);
        assert!((99_840..100_000).all(|index| !window.is_replay(index)));
    }

    #[test]
    fn what_came_before_a_window_is_a_replay() {
        for highest in [0, 62, 63, 64, 1000] {
            let mut window = Window::after(highest);
            assert!((0..=highest).all(|index| window.is_replay(index)));
            assert!((1..200).all(|step| !window.is_replay(highest + step)));
            window.accept(highest + 70);
            assert!((0..=highest).all(|index| window.is_replay(index)));
            assert!((1..70).all(|step| !window.is_replay(highest + step)));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in prop::collection::vec(-300i64..400, 1..300)) {
            let mut window = Window::default();
            let mut seen = HashSet::new();
            let (mut at, mut highest) = (0u64, 0u64);
            for step in steps {
                at = at.saturating_add_signed(step);
                let replay = window.is_replay(at);
                if seen.contains(&at) {
                    prop_assert!(replay);
                } else if at + 192 > highest {
                    prop_assert!(!replay);
                }
                if !replay {
                    window.accept(at);
                    seen.insert(at);
                    highest = highest.max(at);
                }
            }
        }
    }
}

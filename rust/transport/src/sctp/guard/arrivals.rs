//! Which TSNs arrived ahead, for the gap blocks of a SACK (RFC 9260 3.3.4).

use crate::limits;

const WORDS: usize = limits::SCTP_TSN_DISTANCE / 64;
const _: () = assert!(limits::SCTP_TSN_DISTANCE.is_power_of_two() && WORDS > 1);

/// A bit for each TSN behind the cumulative one, in a ring.
#[derive(Debug)]
pub(super) struct Arrivals(Box<[u64; WORDS]>);

impl Default for Arrivals {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

fn place(tsn: u32) -> (usize, u64) {
    let at = tsn as usize % limits::SCTP_TSN_DISTANCE;
    (at / 64, 1 << (at % 64))
}

impl Arrivals {
    pub fn insert(&mut self, tsn: u32) {
        let (word, bit) = place(tsn);
        self.0[word] |= bit;
    }

    pub fn remove(&mut self, tsn: u32) {
        let (word, bit) = place(tsn);
        self.0[word] &= !bit;
    }

    /// How many TSNs from this one on, of at most `most`, arrived or (if not `arrived`) did not.
    fn run(&self, tsn: u32, arrived: bool, most: usize) -> usize {
        let mut len = 0;
        while len < most {
            let at = tsn.wrapping_add(len as u32) as usize % limits::SCTP_TSN_DISTANCE;
            let word = self.0[at / 64] >> (at % 64);
            let left = 64 - at % 64;
            let here = if arrived { !word } else { word }.trailing_zeros() as usize;
            len += here.min(left);
            if here < left {
                break;
            }
        }
        len.min(most)
    }

    /// First and last TSN of each run among the `count` behind the cumulative one, as distances from it.
    pub fn blocks(&self, cumulative: u32, count: usize) -> impl Iterator<Item = (u16, u16)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let next = |at: usize| cumulative.wrapping_add(1 + at as u32);
            let first = at + self.run(next(at), false, count - at);
            let len = self.run(next(first), true, count - first);
            at = first + len;
            (len > 0).then_some((first as u16 + 1, at as u16))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_the_runs_across_the_end_of_numbers() {
        let cumulative = u32::MAX - 2;
        let mut arrivals = Arrivals::default();
        let ahead = [2, 3, 4, 8].into_iter().chain(60..200).chain([300]);
        ahead.for_each(|distance| arrivals.insert(cumulative.wrapping_add(distance)));
        let blocks = |arrivals: &Arrivals| arrivals.blocks(cumulative, 300).collect::<Vec<_>>();
        assert_eq!(blocks(&arrivals), [(2, 4), (8, 8), (60, 199), (300, 300)]);
        arrivals.remove(cumulative.wrapping_add(3));
        arrivals.remove(cumulative.wrapping_add(8));
        assert_eq!(blocks(&arrivals), [(2, 2), (4, 4), (60, 199), (300, 300)]);
        let most = limits::SCTP_TSN_DISTANCE;
        let mut all = Arrivals::default();
        (2..=most as u32).for_each(|distance| all.insert(distance));
        assert_eq!(all.blocks(0, most).collect::<Vec<_>>(), [(2, most as u16)]);
    }
}

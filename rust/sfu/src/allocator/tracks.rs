//! The tracks of an allocation: found by key, and those that may have been given something else since
//! their allocations were told.
//!
//! A connection of hundreds of tracks sees one of them change at a time. That must not cost a look at all
//! of them.

use std::ops::{Deref, Index, IndexMut, Range};

use super::track::{Allocation, Track, TrackSample};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    tracks: Vec<Track>,
    /// Keys and where their tracks are in `tracks`, in order of keys.
    places: Vec<(u64, usize)>,
    /// All tracks with an allocation that was not told are among these.
    untold: Range<usize>,
}

impl Tracks {
    pub(super) fn push(&mut self, track: Track) {
        let at = self.tracks.len();
        let place = self.places.partition_point(|&(key, _)| key < track.key);
        self.places.insert(place, (track.key, at));
        self.tracks.push(track);
        self.mark(at..at + 1);
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.tracks.retain(|track| track.key != key);
        self.find_places();
    }

    pub(super) fn sort_by_key<K: Ord>(&mut self, key: impl FnMut(&Track) -> K) {
        self.tracks.sort_by_key(key);
        self.find_places();
    }

    /// Where the track of this key is.
    pub(super) fn find(&self, key: u64) -> Option<usize> {
        let place = self.places.binary_search_by_key(&key, |&(key, _)| key);
        place.ok().map(|place| self.places[place].1)
    }

    /// Takes what a track is like now, which gives it nothing. Returns what it was like before.
    pub(super) fn observe(&mut self, key: u64, sample: TrackSample) -> Option<TrackSample> {
        let at = self.find(key)?;
        Some(std::mem::replace(&mut self.tracks[at].sample, sample))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Track> {
        self.mark(0..self.tracks.len());
        self.tracks.iter_mut()
    }

    /// The allocations that are not what was told last, which they are now.
    pub(super) fn take_changes(&mut self) -> impl Iterator<Item = (u64, Allocation)> + '_ {
        let untold = std::mem::take(&mut self.untold);
        self.tracks[untold].iter_mut().filter_map(|track| {
            let allocation = track.allocation();
            let told = std::mem::replace(&mut track.told, allocation);
            (told != allocation).then_some((track.key, allocation))
        })
    }

    fn mark(&mut self, places: Range<usize>) {
        self.untold = match self.untold.is_empty() {
            true => places,
            false => self.untold.start.min(places.start)..self.untold.end.max(places.end),
        };
    }

    fn find_places(&mut self) {
        self.places.clear();
        let keys = self.tracks.iter().map(|track| track.key);
        self.places.extend(keys.zip(0..));
        self.places.sort_unstable();
        self.untold = 0..self.tracks.len();
    }
}

impl Deref for Tracks {
    type Target = [Track];

    fn deref(&self) -> &[Track] {
        &self.tracks
    }
}

impl Index<usize> for Tracks {
    type Output = Track;

    fn index(&self, at: usize) -> &Track {
        &self.tracks[at]
    }
}

impl IndexMut<usize> for Tracks {
    fn index_mut(&mut self, at: usize) -> &mut Track {
        self.mark(at..at + 1);
        &mut self.tracks[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(keys: impl Iterator<Item = u64>) -> Tracks {
        let mut tracks = Tracks::default();
        keys.for_each(|key| tracks.push(Track::new(key, 1, true)));
        let told: Vec<_> = tracks.take_changes().collect();
        assert_eq!(told.len(), tracks.len(), "they begin limited");
        assert!(tracks.untold.is_empty());
        tracks
    }

    #[test]
    fn what_happens_to_one_track_is_looked_for_there_alone() {
        let mut tracks = told((0..500).rev());
        tracks.observe(77, TrackSample::default());
        assert!(tracks.untold.is_empty(), "observing gives nothing");
        let at = tracks.find(77).expect("a track");
        tracks[at].allocate_optimal();
        assert_eq!(tracks.untold, at..at + 1);
        let changes: Vec<_> = tracks.take_changes().collect();
        assert_eq!(changes, [(77, Allocation::Optimal)]);
        assert_eq!(tracks.take_changes().count(), 0);
    }

    #[test]
    fn what_changed_of_several_is_told_wherever_they_are_by_then() {
        let mut tracks = told(0..10);
        for key in [3, 7, 5] {
            let at = tracks.find(key).expect("a track");
            tracks[at].allocate_optimal();
        }
        tracks.sort_by_key(|track| std::cmp::Reverse(track.key));
        tracks.remove(9);
        tracks.remove(5);
        let changes: Vec<_> = tracks.take_changes().map(|(key, _)| key).collect();
        assert_eq!(changes, [7, 3]);
        tracks.iter_mut().for_each(Track::allocate_optimal);
        assert_eq!(tracks.take_changes().count(), 6);
    }

    #[test]
    fn every_track_is_found_as_they_come_and_go() {
        let mut tracks = told([8, 2, 9, 4].into_iter());
        tracks.sort_by_key(|track| track.key);
        tracks.remove(4);
        tracks.push(Track::new(1, 1, true));
        for key in 0..10 {
            let expected = tracks.iter().position(|track| track.key == key);
            assert_eq!(tracks.find(key), expected, "{key}");
        }
    }
}

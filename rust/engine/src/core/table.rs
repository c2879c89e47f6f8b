//! Objects by the control plane's id, and by a small index that is cheap to follow.

use rustc_hash::FxHashMap;

use crate::api::Id;

/// Place of one object in its [`Table`]. The slot is used again after the object is removed, the
/// pair of slot and generation is not: an index that somebody kept then finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Index {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    /// Of the object that is here, or will be next.
    generation: u32,
    object: Option<Box<T>>,
}

#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    by_id: FxHashMap<Id, Index>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: FxHashMap::default(),
        }
    }
}

impl<T> Table<T> {
    /// Adds an object whose id is not in use.
    pub(crate) fn insert(&mut self, id: Id, object: T) -> Index {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                object: None,
            });
            self.slots.len() as u32 - 1
        });
        let place = &mut self.slots[slot as usize];
        place.object = Some(Box::new(object));
        let index = Index {
            slot,
            generation: place.generation,
        };
        self.by_id.insert(id, index);
        index
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<Box<T>> {
        let index = self.by_id.remove(&id)?;
        let place = &mut self.slots[index.slot as usize];
        // A slot whose generations are used up (2^32 objects) rests for good.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(index.slot);
        }
        place.object.take()
    }

    pub(crate) fn find(&self, id: Id) -> Option<Index> {
        self.by_id.get(&id).copied()
    }

    #[inline]
    pub(crate) fn get(&self, index: Index) -> Option<&T> {
        let place = self.slots.get(index.slot as usize)?;
        let current = place.generation == index.generation;
        place.object.as_deref().filter(|_| current)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: Index) -> Option<&mut T> {
        let place = self.slots.get_mut(index.slot as usize)?;
        let current = place.generation == index.generation;
        place.object.as_deref_mut().filter(|_| current)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        self.by_id.keys().copied()
    }

    /// The ids of the objects that `is_meant`. Looks at every object.
    pub(crate) fn ids_where(&self, is_meant: impl Fn(&T) -> bool) -> Vec<Id> {
        let ids = self.by_id.iter();
        let meant = ids.filter(|(_, index)| self.get(**index).is_some_and(&is_meant));
        meant.map(|(id, _)| *id).collect()
    }

    /// The first object from the slot `cursor` on, and the cursor for the next. Whoever goes on from
    /// there later sees each object that stays at most once.
    pub(crate) fn next_from(&self, cursor: usize) -> Option<(Index, usize)> {
        let slots = self.slots.get(cursor..)?;
        let offset = slots.iter().position(|place| place.object.is_some())?;
        let slot = cursor + offset;
        let index = Index {
            slot: slot as u32,
            generation: self.slots[slot].generation,
        };
        Some((index, slot + 1))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots
            .iter_mut()
            .filter_map(|place| place.object.as_deref_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_neither_ids_nor_indexes_are_mixed_up() {
        let mut table = Table::default();
        let a = table.insert(10, 'a');
        let b = table.insert(20, 'b');
        assert_eq!(table.remove(10).as_deref(), Some(&'a'));
        assert_eq!(table.remove(10), None);
        assert_eq!((table.get(a), table.find(10)), (None, None));
        let c = table.insert(30, 'c');
        assert_eq!((c.slot, table.slots.len()), (a.slot, 2));
        assert_ne!(c, a);
        assert_eq!(table.get(a), None);
        assert_eq!(table.get_mut(a), None);
        assert_eq!((table.get(c), table.find(20)), (Some(&'c'), Some(b)));
        assert_eq!(table.ids_where(|&object| object != 'b'), [30]);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_slot_whose_generations_are_used_up_rests() {
        let mut table = Table::default();
        table.slots.push(Slot {
            generation: u32::MAX,
            object: None,
        });
        table.free.push(0);
        let last = table.insert(1, 'a');
        table.remove(1);
        let next = table.insert(2, 'b');
        assert_eq!((last.slot, next.slot), (0, 1));
        assert_eq!(table.get(last), None);
    }
}

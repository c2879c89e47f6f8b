//! Objects by the control plane's id, and by a small index that is cheap to follow.

use rustc_hash::FxHashMap;

use crate::api::Id;

/// Place of an object in its [`Table`]. It is used again after the object is removed, so whoever
/// keeps one must forget it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Index(u32);

#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Option<Box<T>>>,
    free: Vec<Index>,
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
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Index(self.slots.len() as u32 - 1)
        });
        self.slots[index.0 as usize] = Some(Box::new(object));
        self.by_id.insert(id, index);
        index
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<Box<T>> {
        let index = self.by_id.remove(&id)?;
        self.free.push(index);
        self.slots[index.0 as usize].take()
    }

    pub(crate) fn find(&self, id: Id) -> Option<Index> {
        self.by_id.get(&id).copied()
    }

    #[inline]
    pub(crate) fn get(&self, index: Index) -> Option<&T> {
        self.slots.get(index.0 as usize)?.as_deref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: Index) -> Option<&mut T> {
        self.slots.get_mut(index.0 as usize)?.as_deref_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        self.by_id.keys().copied()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(Option::as_deref_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_ids_are_not_mixed_up() {
        let mut table = Table::default();
        let a = table.insert(10, 'a');
        let b = table.insert(20, 'b');
        assert_eq!(table.remove(10).as_deref(), Some(&'a'));
        assert_eq!(table.remove(10), None);
        assert_eq!((table.find(10), table.get(a)), (None, None));
        let c = table.insert(30, 'c');
        assert_eq!(c, a);
        assert_eq!((table.get(b), table.find(30)), (Some(&'b'), Some(c)));
        assert_eq!(table.len(), 2);
        assert_eq!(table.iter_mut().count(), 2);
    }
}

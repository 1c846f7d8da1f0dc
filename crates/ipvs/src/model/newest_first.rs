//! A map that remembers the order of insertion and walks it backwards.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map whose iteration starts with the newest entry.
///
/// The kernel dumps real servers newest first, and its order of services is unspecified (netlink.md §5);
/// here both are newest first, so that a dump is the same on every run. Replacing a value keeps its place.
#[derive(Clone, Debug)]
pub struct NewestFirst<K, V> {
    /// Place of each key, counting up from 0 in order of insertion.
    places: HashMap<K, u64>,
    /// The entries by place.
    entries: BTreeMap<u64, (K, V)>,
    /// Place of the next insertion.
    next_place: u64,
}

impl<K, V> Default for NewestFirst<K, V> {
    fn default() -> Self {
        NewestFirst { places: HashMap::new(), entries: BTreeMap::new(), next_place: 0 }
    }
}

impl<K: Clone + Eq + Hash, V> NewestFirst<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        NewestFirst::default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &K) -> bool {
        self.places.contains_key(key)
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(self.places.get(key)?).map(|(_, value)| value)
    }

    /// The value of a key, to change in place.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(self.places.get(key)?).map(|(_, value)| value)
    }

    /// Puts the value in: as the newest entry if the key is new, else in the place of the old value, which
    /// is returned.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(old) = self.get_mut(&key) {
            return Some(std::mem::replace(old, value));
        }
        let place = self.next_place;
        // 2^64 insertions take centuries; wrapping would only misplace one entry.
        self.next_place = self.next_place.wrapping_add(1);
        self.places.insert(key.clone(), place);
        self.entries.insert(place, (key, value));
        None
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.places.remove(key)?;
        self.entries.remove(&place).map(|(_, value)| value)
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.places.clear();
        self.entries.clear();
    }

    /// The keys and values, newest first.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.values().rev().map(|(key, value)| (key, value))
    }

    /// The values, newest first.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().rev().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_comes_first_and_replacing_keeps_the_place() {
        let mut map = NewestFirst::new();
        for key in [3, 1, 2] {
            assert_eq!(map.insert(key, "old"), None);
        }
        assert_eq!(map.insert(1, "new"), Some("old"));
        let walk: Vec<_> = map.iter().map(|(&key, &value)| (key, value)).collect();
        assert_eq!(walk, [(2, "old"), (1, "new"), (3, "old")]);
        assert_eq!(map.remove(&1), Some("new"));
        assert_eq!(map.insert(1, "back"), None);
        assert_eq!(map.values().copied().collect::<Vec<_>>(), ["back", "old", "old"]);
    }
}

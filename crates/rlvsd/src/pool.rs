//! Numbers of rows and ranges of slots that are free.
//!
//! What is given back rests for the data plane's grace period before it is given out again: a packet that still looks at the
//! old row must not find another one in its place.

use std::collections::VecDeque;

use rlvs_core::sched::roster::Space;

/// Numbers 0.. up to a maximum.
#[derive(Debug)]
pub struct IdPool {
    /// Numbers from here on were never given out.
    next: u32,
    max: u32,
    /// Given back, oldest first, with the jiffies when that was.
    resting: VecDeque<(u64, u32)>,
    grace: u64,
}

impl IdPool {
    /// All numbers below `max` except those in `used`. `grace` is in jiffies.
    pub fn new(max: u32, grace: u64, used: impl Iterator<Item = u32>) -> Self {
        let mut used: Vec<u32> = used.collect();
        used.sort_unstable();
        let next = used.last().map_or(0, |last| last + 1);
        let resting = (0..next).filter(|id| used.binary_search(id).is_err()).map(|id| (0, id)).collect();
        Self { next, max, resting, grace }
    }

    /// Every number that was ever given out is below this one.
    pub fn end(&self) -> u32 {
        self.next
    }

    /// A free number.
    pub fn take(&mut self, now: u64) -> Option<u32> {
        if let Some((since, id)) = self.resting.front().copied()
            && now >= since + self.grace
        {
            self.resting.pop_front();
            return Some(id);
        }
        let id = self.next;
        (id < self.max).then(|| {
            self.next += 1;
            id
        })
    }

    /// Gives a number back.
    pub fn give(&mut self, id: u32, now: u64) {
        self.resting.push_back((now, id));
    }
}

/// Ranges of slots, of lengths that are powers of two.
#[derive(Debug)]
pub struct SpanPool {
    /// Slots from here on were never given out.
    next: u32,
    max: u32,
    /// By binary logarithm of the length.
    resting: [VecDeque<(u64, u32)>; 32],
    grace: u64,
}

/// The length, as a binary logarithm, of the range that holds `len` slots.
fn class(len: u32) -> usize {
    len.max(1).next_power_of_two().trailing_zeros() as usize
}

impl SpanPool {
    /// All slots below `max` except the ranges (first slot, length asked for) in `used`.
    pub fn new(max: u32, grace: u64, used: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut pool = Self { next: 0, max, resting: std::array::from_fn(|_| VecDeque::new()), grace };
        let mut used: Vec<(u32, u32)> = used.filter(|(_, len)| *len > 0).collect();
        used.sort_unstable();
        for (base, len) in used {
            pool.free_gap(base);
            // Never back: what a daemon left that died may overlap.
            pool.next = pool.next.max(base.saturating_add(1 << class(len)));
        }
        pool
    }

    /// Cuts what lies between `next` and `end` into ranges.
    fn free_gap(&mut self, end: u32) {
        while self.next < end {
            let class = (end - self.next).ilog2() as usize;
            self.resting[class].push_back((0, self.next));
            self.next += 1 << class;
        }
    }

    /// The first of `len` free slots.
    pub fn take(&mut self, len: u32, now: u64) -> Option<u32> {
        let class = class(len);
        let resting = self.resting.get_mut(class)?;
        if let Some((since, base)) = resting.front().copied()
            && now >= since + self.grace
        {
            resting.pop_front();
            return Some(base);
        }
        let base = self.next;
        let end = base.checked_add(1 << class).filter(|end| *end <= self.max)?;
        self.next = end;
        Some(base)
    }

    /// Gives back what [`Self::take`] gave for the same `len`.
    pub fn give(&mut self, base: u32, len: u32, now: u64) {
        if let Some(resting) = self.resting.get_mut(class(len)) {
            resting.push_back((now, base));
        }
    }
}

/// Room for member lists and schedulers' words.
#[derive(Debug)]
pub struct Room {
    /// Slots of member lists.
    pub members: SpanPool,
    /// Words.
    pub words: SpanPool,
}

/// [`Room`] as it is at one moment, for [`rlvs_core::sched::roster`].
#[derive(Debug)]
pub struct RoomNow<'r> {
    room: &'r mut Room,
    now: u64,
}

impl Room {
    /// At the moment `now`, in jiffies.
    pub fn at(&mut self, now: u64) -> RoomNow<'_> {
        RoomNow { room: self, now }
    }
}

impl Space for RoomNow<'_> {
    fn take_members(&mut self, slots: u32) -> Option<u32> {
        self.room.members.take(slots, self.now)
    }

    fn give_members(&mut self, base: u32, slots: u32) {
        self.room.members.give(base, slots, self.now);
    }

    fn take_words(&mut self, words: u32) -> Option<u32> {
        self.room.words.take(words, self.now)
    }

    fn give_words(&mut self, base: u32, words: u32) {
        self.room.words.give(base, words, self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rest_before_they_are_used_again() {
        let mut pool = IdPool::new(3, 10, [1].into_iter());
        assert_eq!(pool.take(10), Some(0), "the gap below a used number");
        pool.give(0, 10);
        assert_eq!(pool.take(19), Some(2), "0 still rests");
        assert_eq!(pool.take(19), None);
        assert_eq!(pool.take(20), Some(0));
    }

    #[test]
    fn spans_never_overlap() {
        let mut pool = SpanPool::new(64, 0, [(8, 3), (20, 1)].into_iter());
        let mut taken = vec![(8, 4), (20, 1)];
        for len in [1, 2, 3, 4, 5, 7, 8, 1, 1, 2] {
            let Some(base) = pool.take(len, 1) else { continue };
            let end = base + len.next_power_of_two();
            assert!(end <= 64);
            assert!(taken.iter().all(|(b, l)| end <= *b || *b + *l <= base), "{base} {len} {taken:?}");
            taken.push((base, len.next_power_of_two()));
        }
        assert!(taken.len() > 8);
    }

    #[test]
    fn a_span_given_back_is_given_out_again() {
        let mut pool = SpanPool::new(4, 5, std::iter::empty());
        let base = pool.take(3, 0);
        assert_eq!(base, Some(0));
        assert_eq!(pool.take(1, 0), None);
        pool.give(0, 3, 0);
        assert_eq!(pool.take(4, 4), None);
        assert_eq!(pool.take(4, 5), Some(0));
    }
}

//! Who waits for which reply on one upstream connection.

/// Calls that await their replies, by the ids they were sent under.
///
/// Ids are handed out one after the other, so the low bits of an id are its place: finding a call
/// is one look. An id whose place is still taken, because its call is slow or because ids have come
/// round to it, is passed over; the table grows before it gets half full.
#[derive(Debug)]
pub(super) struct Pending<T> {
    places: Vec<Option<(u64, T)>>,
    len: usize,
    last: u64,
}

const FEWEST: usize = 16;

impl<T> Pending<T> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), len: 0, last: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn place(&self, id: u64) -> usize {
        id as usize & (self.places.len() - 1)
    }

    /// An id for a frame that awaits nothing. `next` gives the id after another.
    pub(super) fn skip(&mut self, next: impl Fn(u64) -> u64) -> u64 {
        loop {
            self.last = next(self.last);
            let taken = !self.places.is_empty()
                && self.places[self.place(self.last)].as_ref().is_some_and(|(id, _)| *id == self.last);
            if !taken {
                return self.last;
            }
        }
    }

    /// An id for a call, which is kept under it.
    pub(super) fn insert(&mut self, next: impl Fn(u64) -> u64, call: T) -> u64 {
        if self.len * 2 >= self.places.len() {
            self.grow();
        }
        loop {
            self.last = next(self.last);
            let place = self.place(self.last);
            if self.places[place].is_none() {
                self.places[place] = Some((self.last, call));
                self.len += 1;
                return self.last;
            }
        }
    }

    /// Two ids that differ in their low bits still do when more bits count.
    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(FEWEST);
        let old = std::mem::take(&mut self.places);
        self.places.resize_with(size, || None);
        for (id, call) in old.into_iter().flatten() {
            let place = self.place(id);
            self.places[place] = Some((id, call));
        }
    }

    /// Takes out the call that was sent under `id`.
    pub(super) fn take(&mut self, id: u64) -> Option<T> {
        if self.places.is_empty() {
            return None;
        }
        let place = self.place(id);
        let (_, call) = self.places[place].take_if(|(known, _)| *known == id)?;
        self.len -= 1;
        if self.len == 0 && self.places.len() > 64 * FEWEST {
            // A burst is over: an idle connection keeps no room for it.
            self.places = Vec::new();
        }
        Some(call)
    }

    /// Takes out every call that `done` says yes to, oldest place first.
    pub(super) fn take_where(&mut self, mut done: impl FnMut(u64, &T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for place in &mut self.places {
            if let Some((_, call)) = place.take_if(|(id, call)| done(*id, call)) {
                taken.push(call);
            }
        }
        self.len -= taken.len();
        taken
    }

    #[cfg(test)]
    pub(super) const fn start_after(&mut self, last: u64) {
        self.last = last;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten().map(|(_, call)| call)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn next(bits: u32) -> impl Fn(u64) -> u64 + Copy {
        move |last| match (last + 1) & ((1 << bits) - 1) {
            0 => 1,
            id => id,
        }
    }

    #[test]
    fn the_first_id_is_one_and_each_call_is_found_once() {
        let mut pending = Pending::new();
        let next = next(32);
        assert_eq!(pending.take(1), None);
        assert_eq!([pending.insert(next, 'a'), pending.insert(next, 'b')], [1, 2]);
        assert_eq!(pending.take(2), Some('b'));
        assert_eq!(pending.take(2), None);
        assert_eq!(pending.take(1), Some('a'));
        assert!(pending.is_empty());
    }

    #[test]
    fn ids_that_come_round_pass_over_a_call_that_still_waits() {
        let mut pending = Pending::new();
        let next = next(4);
        let slow = pending.insert(next, 0);
        for call in 1..100 {
            let id = pending.insert(next, call);
            assert_ne!(id, slow);
            assert_eq!(pending.take(id), Some(call));
        }
        assert_eq!(pending.take(slow), Some(0));
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map(ops in prop::collection::vec((any::<bool>(), any::<u16>()), 0..400)) {
            let next = next(16);
            let (mut pending, mut model) = (Pending::new(), HashMap::new());
            for (step, (insert, which)) in ops.into_iter().enumerate() {
                if insert || model.is_empty() {
                    let id = pending.insert(next, step);
                    prop_assert_eq!(model.insert(id, step), None);
                } else {
                    let mut ids: Vec<u64> = model.keys().copied().collect();
                    ids.sort_unstable();
                    let id = ids[usize::from(which) % ids.len()];
                    prop_assert_eq!(pending.take(id), model.remove(&id));
                    prop_assert_eq!(pending.take(id), None);
                }
                prop_assert_eq!(pending.len(), model.len());
            }
            let mut left: Vec<_> = pending.iter().copied().collect();
            left.sort_unstable();
            let mut expected: Vec<_> = model.into_values().collect();
            expected.sort_unstable();
            prop_assert_eq!(&left, &expected);
            let mut taken = pending.take_where(|_, _| true);
            taken.sort_unstable();
            prop_assert_eq!(taken, expected);
            prop_assert!(pending.is_empty());
        }
    }
}

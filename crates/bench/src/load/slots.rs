//! The requests in flight on one connection.

/// Pairs replies with requests. An id names a place in the list and how often the place was used, so
/// that a late or repeated reply is told from the reply to a newer request.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    /// Free places, the last one used first.
    free: Vec<u32>,
    /// Bits of an id that name the place.
    place_bits: u32,
    /// Uses are counted up to here and then from 1 again.
    max_use: u64,
}

/// A request in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// When it was put into the output, in nanoseconds from the start of the run.
    pub(crate) sent: u64,
    /// When it should have been.
    pub(crate) due: u64,
    /// The number in its body.
    pub(crate) tag: u32,
    busy: bool,
    used: u64,
}

impl Slots {
    /// Room for `outstanding` requests, with ids of `id_bits` bits of which the sign is left alone.
    pub(crate) fn new(outstanding: usize, id_bits: u32) -> Self {
        let place_bits = outstanding.next_power_of_two().trailing_zeros();
        Self {
            slots: vec![Slot::default(); outstanding],
            free: (0..outstanding as u32).rev().collect(),
            place_bits,
            max_use: (1 << (id_bits - 1 - place_bits)) - 1,
        }
    }

    /// Whether there is room for another.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// How many are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// A place for a request, and the id to send it under.
    pub(crate) fn begin(&mut self, sent: u64, due: u64, tag: u32) -> Option<u64> {
        let place = self.free.pop()?;
        let slot = &mut self.slots[place as usize];
        let used = if slot.used >= self.max_use { 1 } else { slot.used + 1 };
        *slot = Slot { sent, due, tag, busy: true, used };
        Some(used << self.place_bits | u64::from(place))
    }

    /// The request that was sent under this id, which is in flight no more; `None` if it was not.
    pub(crate) fn end(&mut self, id: u64) -> Option<Slot> {
        let place = id & ((1 << self.place_bits) - 1);
        let slot = self.slots.get_mut(place as usize)?;
        if !slot.busy || slot.used != id >> self.place_bits {
            return None;
        }
        slot.busy = false;
        self.free.push(place as u32);
        Some(*slot)
    }

    /// Gives up on the requests that were sent before this time; returns how many those are.
    pub(crate) fn expire(&mut self, sent_before: u64) -> u64 {
        if self.in_flight() == 0 {
            return 0;
        }
        let before = self.free.len();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if slot.busy && slot.sent < sent_before {
                slot.busy = false;
                self.free.push(place as u32);
            }
        }
        (self.free.len() - before) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_ends_its_request_once() {
        let mut slots = Slots::new(3, 32);
        let ids: Vec<_> = (0..3).map(|at| slots.begin(at, at, at as u32).unwrap()).collect();
        assert!(!slots.has_room() && slots.begin(3, 3, 3).is_none());
        assert_eq!(slots.end(ids[1]).unwrap().tag, 1);
        assert_eq!(slots.end(ids[1]), None);
        assert_eq!((slots.in_flight(), slots.has_room()), (2, true));
        for unknown in [0, 3, 12345, u64::MAX] {
            assert_eq!(slots.end(unknown), None);
        }
    }

    #[test]
    fn a_late_reply_does_not_end_the_request_that_has_its_place_now() {
        let mut slots = Slots::new(1, 32);
        let late = slots.begin(10, 10, 1).unwrap();
        assert_eq!(slots.expire(10), 0);
        assert_eq!(slots.expire(11), 1);
        let now = slots.begin(20, 20, 2).unwrap();
        assert_eq!(slots.end(late), None);
        assert_eq!(slots.end(now).unwrap().tag, 2);
    }

    #[test]
    fn ids_fit_their_field_are_never_zero_and_start_over() {
        let mut slots = Slots::new(4, 8);
        let mut seen = Vec::new();
        for _ in 0..100 {
            let id = slots.begin(0, 0, 0).unwrap();
            assert!((1..128).contains(&id), "{id}");
            seen.push(id);
            assert!(slots.end(id).is_some());
        }
        assert_eq!(seen[0], seen[31]);
    }
}

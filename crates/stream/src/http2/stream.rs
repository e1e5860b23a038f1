//! What is known of one stream.

use std::{
    collections::VecDeque,
    task::{Context, Waker},
};

use bytes::{Bytes, BytesMut};
use mosn_core::{Failure, Headers, RequestHead, ResponseHead};

use http::StatusCode;

/// Pieces of a body below this size are put together while they wait.
const SMALL: usize = 1024;
/// How large pieces that are put together become.
const JOINED: usize = 16 * 1024;

/// A stream, from its first HEADERS until it is over for both the peer and the request that uses it.
#[derive(Debug)]
pub(super) struct Stream {
    /// 0 = not opened yet, because the peer takes no more for now.
    pub(super) id: u32,
    /// Whether a request uses it.
    pub(super) used: bool,
    /// Whether it stands in the line of those that wait for the connection's window or output.
    pub(super) in_line: bool,
    /// That it ended before its end, and why.
    pub(super) reset: Option<Failure>,
    /// Whom to wake when anything happens: one request waits for all of it.
    waker: Option<Waker>,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
}

/// What the peer sends.
#[derive(Debug)]
pub(super) struct Incoming {
    data: Queue<BytesMut>,
    /// Bytes in `data`, which the peer's window has not got back.
    pub(super) waiting: usize,
    /// What comes after `data`.
    end: Option<Ending>,
    /// Whether the peer has sent its last frame.
    pub(super) closed: bool,
    /// Bytes that the peer may still send.
    pub(super) window: i64,
    /// Bytes that were used, and not given back to the window yet.
    pub(super) used: u32,
    /// Bytes of body that must still come, if there was a `Content-Length`.
    pub(super) expected: Option<u64>,
    /// A reply's head, which has not been taken.
    pub(super) head: Option<ResponseHead>,
    /// Whether a reply's head has come.
    pub(super) head_seen: bool,
    pub(super) interim: VecDeque<(StatusCode, Headers)>,
    /// Whether a reply has no body whatever its head says: the request was HEAD.
    pub(super) bodiless: bool,
}

/// What we send.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) data: Queue<Bytes>,
    /// What is to be sent after `data`.
    pub(super) end: Option<Ending>,
    /// Whether our last frame was sent.
    pub(super) closed: bool,
    /// Bytes that the peer takes; below 0 after it made its window smaller.
    pub(super) window: i64,
    /// The request of a stream that is not opened yet.
    pub(super) unopened: Option<Box<RequestHead>>,
    /// Whether the peer should stop sending once everything is sent.
    pub(super) stops_peer: bool,
}

/// How a body ends.
#[derive(Debug)]
pub(super) enum Ending {
    Plain,
    Trailers(Box<Headers>),
}

/// What can be taken of a body.
#[derive(Debug)]
pub(super) enum Taken {
    Data { data: Bytes, end: bool },
    Trailers(Box<Headers>),
}

/// A queue that mostly holds one.
#[derive(Debug)]
pub(super) struct Queue<T> {
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { first: None, rest: VecDeque::new() }
    }
}

impl<T> Queue<T> {
    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn push(&mut self, item: T) {
        match &self.first {
            None => self.first = Some(item),
            Some(_) => self.rest.push_back(item),
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        std::mem::replace(&mut self.first, self.rest.pop_front())
    }

    pub(super) const fn first_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    fn last_mut(&mut self) -> Option<&mut T> {
        match self.rest.back_mut() {
            None => self.first.as_mut(),
            last => last,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Stream {
    pub(super) fn new(id: u32, receive_window: u32, send_window: i64) -> Self {
        Self {
            id,
            used: true,
            in_line: false,
            reset: None,
            waker: None,
            incoming: Incoming {
                data: Queue::default(),
                waiting: 0,
                end: None,
                closed: false,
                window: i64::from(receive_window),
                used: 0,
                expected: None,
                head: None,
                head_seen: false,
                interim: VecDeque::new(),
                bodiless: false,
            },
            outgoing: Outgoing {
                data: Queue::default(),
                end: None,
                closed: false,
                window: send_window,
                unopened: None,
                stops_peer: false,
            },
        }
    }

    /// Has the request woken when anything happens.
    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        match &self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => self.waker = Some(cx.waker().clone()),
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Whether no frame is to come or to go any more.
    pub(super) const fn is_over(&self) -> bool {
        self.reset.is_some() || (self.incoming.closed && self.outgoing.closed)
    }
}

impl Incoming {
    /// Keeps a piece of body. Many small ones would cost more than the window allows for, so they are
    /// put together.
    pub(super) fn push(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.waiting += data.len();
        match self.data.last_mut() {
            Some(last) if data.len() < SMALL && last.len() + data.len() <= JOINED => {
                last.extend_from_slice(data);
            }
            _ => self.data.push(BytesMut::from(data)),
        }
    }

    pub(super) fn finish(&mut self, end: Ending) {
        self.end = Some(end);
        self.closed = true;
    }

    /// The next piece, or the end.
    pub(super) fn take(&mut self) -> Option<Taken> {
        if let Some(data) = self.data.pop() {
            self.waiting -= data.len();
            let end = self.data.is_empty() && matches!(self.end, Some(Ending::Plain));
            if end {
                self.end = None;
            }
            return Some(Taken::Data { data: data.freeze(), end });
        }
        Some(match self.end.take()? {
            Ending::Plain => Taken::Data { data: Bytes::new(), end: true },
            Ending::Trailers(trailers) => Taken::Trailers(trailers),
        })
    }

    /// Whether the body has ended, and nothing of it, nor trailers, can be taken.
    pub(super) fn is_empty_body(&self) -> bool {
        self.closed && self.data.is_empty() && !matches!(self.end, Some(Ending::Trailers(_)))
    }

    /// Drops what nobody takes any more; how many bytes of window that gives back.
    pub(super) fn discard(&mut self) -> u32 {
        self.data.clear();
        std::mem::take(&mut self.waiting) as u32
    }

    /// Takes the length of a piece, or the end, off what must come; whether that is as announced.
    pub(super) fn fits(&mut self, length: usize, end: bool) -> bool {
        let Some(expected) = &mut self.expected else { return true };
        match expected.checked_sub(length as u64) {
            Some(left) => {
                *expected = left;
                !end || left == 0
            }
            None => false,
        }
    }
}

impl Outgoing {
    /// Whether there is anything that has not been sent.
    pub(super) const fn is_pending(&self) -> bool {
        !self.data.is_empty() || self.end.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming() -> Incoming {
        Stream::new(1, 100, 100).incoming
    }

    #[test]
    fn small_pieces_are_put_together_and_large_ones_left_alone() {
        let mut incoming = incoming();
        for _ in 0..100_000 {
            incoming.push(b"x");
        }
        incoming.push(&[b'y'; 5000]);
        incoming.finish(Ending::Plain);
        let (mut pieces, mut bytes) = (0, 0);
        loop {
            let Some(Taken::Data { data, end }) = incoming.take() else { panic!("no data") };
            pieces += 1;
            bytes += data.len();
            if end {
                break;
            }
        }
        assert_eq!((bytes, incoming.waiting), (105_000, 0));
        assert!(pieces < 10, "{pieces}");
        assert!(incoming.take().is_none());
    }

    #[test]
    fn a_body_is_as_long_as_it_says() {
        let mut body = incoming();
        assert!(body.fits(5, false) && body.fits(0, true), "nothing was said");
        body.expected = Some(5);
        assert!(body.fits(3, false) && !body.fits(1, true) && body.fits(1, true));
        assert!(!body.fits(1, true));
    }

    #[test]
    fn a_queue_keeps_its_order() {
        let mut queue = Queue::default();
        assert!(queue.pop().is_none());
        for item in 0..4 {
            queue.push(item);
        }
        *queue.first_mut().expect("an item") = 9;
        *queue.last_mut().expect("an item") = 8;
        let items: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(items, [9, 1, 2, 8]);
        assert!(queue.is_empty());
    }
}

//! Buffers that all connections of a worker take turns in using.
//!
//! A connection that waits holds no buffer. One that can be read borrows the worker's, takes out
//! what it needs, and gives the buffer back before it waits again; the borrow cannot outlive the
//! call. Output is put together in the same way, and only what the socket would not take is kept.

use std::cell::RefCell;

/// Bytes of the read buffer: several requests, or one large piece of a body.
pub const READ_BUFFER: usize = 64 * 1024;

/// Lent vectors that a worker keeps for the next borrower, and the largest of them that it keeps.
const KEPT: usize = 8;
const KEPT_CAPACITY: usize = 512 * 1024;

thread_local! {
    static LENT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into_boxed_slice());
    static WRITE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the read buffer. A call within a call gets a small buffer of its own.
pub fn with_read<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    READ.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => f(&mut buffer),
        Err(_) => f(&mut [0; 4096]),
    })
}

/// Lends an empty vector to put output together in. A call within a call gets one of its own.
pub fn with_write<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    WRITE.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.clear();
            f(&mut buffer)
        }
        Err(_) => f(&mut Vec::new()),
    })
}

/// Lends an empty vector for as long as there is something in it to keep; see [`give_back`].
#[must_use]
pub fn borrow() -> Vec<u8> {
    LENT.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(16 * 1024))
}

/// Takes a vector back.
pub fn give_back(mut buffer: Vec<u8>) {
    buffer.clear();
    LENT.with_borrow_mut(|lent| {
        if lent.len() < KEPT && buffer.capacity() <= KEPT_CAPACITY {
            lent.push(buffer);
        }
    });
}

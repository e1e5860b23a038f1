use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use mosn_net::clock;

thread_local! {
    static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Lends the current time as an HTTP date (RFC 9110 5.6.7), put together once a second.
pub fn http_date<R>(f: impl FnOnce(&str) -> R) -> R {
    let now = clock::wall();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(at, text)| {
        if *at != second || text.is_empty() {
            *at = second;
            *text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second));
        }
        f(text)
    })
}

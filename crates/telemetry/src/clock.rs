//! The wall clock as text, in local time.

use std::{
    cell::Cell,
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, tz::TimeZone};

/// `YYYY-MM-DD HH:MM:SS`.
const LEN: usize = 19;

thread_local! {
    /// The second last asked for and its text: time zones are looked up once a second, not once a
    /// line.
    static LAST: Cell<(u64, [u8; LEN])> = const { Cell::new((u64::MAX, [0; LEN])) };
}

/// Time since the epoch; a clock set before it counts as the epoch.
pub(crate) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Appends `YYYY<separator>MM<separator>DD HH:MM:SS` and returns the milliseconds within the second.
pub(crate) fn write_date_time(time: SystemTime, separator: u8, out: &mut Vec<u8>) -> u32 {
    let time = since_epoch(time);
    let (mut second, mut text) = LAST.get();
    if second != time.as_secs() {
        (second, text) = (time.as_secs(), format_second(time.as_secs()));
        LAST.set((second, text));
    }
    text[4] = separator;
    text[7] = separator;
    out.extend_from_slice(&text);
    time.subsec_millis()
}

/// The local time of a second since the epoch.
pub(crate) fn local(second: u64) -> jiff::civil::DateTime {
    let timestamp = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
    TimeZone::system().to_datetime(timestamp.unwrap_or(Timestamp::MAX))
}

fn format_second(second: u64) -> [u8; LEN] {
    let at = local(second);
    let mut text = *b"0000-00-00 00:00:00";
    let mut put = |from: usize, number: i16| {
        let number = number.unsigned_abs();
        text[from] = b'0' + (number / 10 % 10) as u8;
        text[from + 1] = b'0' + (number % 10) as u8;
    };
    put(0, at.year() / 100);
    put(2, at.year());
    put(5, at.month().into());
    put(8, at.day().into());
    put(11, at.hour().into());
    put(14, at.minute().into());
    put(17, at.second().into());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_agrees_with_the_calendar() {
        for second in [0, 951_782_399, 951_782_400, 1_700_000_000, 1_795_000_001, 4_102_444_800] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(second * 1000 + 7);
            let mut out = Vec::new();
            assert_eq!(write_date_time(time, b'/', &mut out), 7);
            assert_eq!(
                String::from_utf8(out).unwrap(),
                local(second).strftime("%Y/%m/%d %H:%M:%S").to_string()
            );
        }
    }

    #[test]
    fn the_cache_does_not_mix_separators() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        write_date_time(time, b'/', &mut one);
        write_date_time(time, b'-', &mut two);
        assert_eq!(String::from_utf8(one).unwrap().replace('/', "-"), String::from_utf8(two).unwrap());
    }
}

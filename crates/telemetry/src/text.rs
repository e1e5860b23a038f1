//! Numbers, durations and addresses as text, straight into a byte buffer.

use std::{io::Write as _, net::SocketAddr, time::Duration};

/// Appends `number` in decimal.
pub(crate) fn write_int(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `number` in lower-case hexadecimal, without leading zeros.
pub(crate) fn write_hex(number: u64, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| HEX[(number >> (digit * 4) & 15) as usize]));
}

/// Appends the last `width` (at most 9) decimal digits of `number`, zero-padded.
pub(crate) fn write_padded(number: u32, width: usize, out: &mut Vec<u8>) {
    let digits = padded_digits(number);
    out.extend_from_slice(&digits[9 - width..]);
}

fn padded_digits(mut number: u32) -> [u8; 9] {
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// Appends a duration the way Go prints one: `0s`, `812ns`, `1.5µs`, `20.25ms`, `3.000000001s`,
/// `1h0m0.5s`. The largest unit that fits is used, and trailing zeros of the fraction are left out.
pub fn write_duration(duration: Duration, out: &mut Vec<u8>) {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if seconds > 0 {
        if seconds >= 3600 {
            write_int(seconds / 3600, out);
            out.push(b'h');
        }
        if seconds >= 60 {
            write_int(seconds / 60 % 60, out);
            out.push(b'm');
        }
        write_int(seconds % 60, out);
        write_fraction(nanos, 9, out);
        out.push(b's');
    } else if nanos >= 1_000_000 {
        write_int(nanos / 1_000_000, out);
        write_fraction(nanos % 1_000_000, 6, out);
        out.extend_from_slice(b"ms");
    } else if nanos >= 1_000 {
        write_int(nanos / 1_000, out);
        write_fraction(nanos % 1_000, 3, out);
        out.extend_from_slice("µs".as_bytes());
    } else if nanos > 0 {
        write_int(nanos, out);
        out.extend_from_slice(b"ns");
    } else {
        out.extend_from_slice(b"0s");
    }
}

/// `fraction` out of 10^`width`, with its point, without trailing zeros.
fn write_fraction(fraction: u32, width: usize, out: &mut Vec<u8>) {
    if fraction == 0 {
        return;
    }
    let digits = padded_digits(fraction);
    let zeros = digits.iter().rev().take_while(|&&digit| digit == b'0').count();
    out.push(b'.');
    out.extend_from_slice(&digits[9 - width..9 - zeros]);
}

/// Appends `ip:port`. An IPv4 client of a dual-stack socket shows as IPv4, as Go prints it.
pub(crate) fn write_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                write_int(octet, out);
            }
            out.push(b':');
            write_int(address.port(), out);
        }
        std::net::IpAddr::V6(_) => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{address}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(nanos: u64) -> String {
        let mut out = Vec::new();
        write_duration(Duration::from_nanos(nanos), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (999, "999ns"),
            (1_000, "1µs"),
            (1_500, "1.5µs"),
            (1_001, "1.001µs"),
            (999_999, "999.999µs"),
            (1_000_000, "1ms"),
            (1_234_000, "1.234ms"),
            (1_000_001, "1.000001ms"),
            (999_999_999, "999.999999ms"),
            (1_000_000_000, "1s"),
            (1_000_000_001, "1.000000001s"),
            (59_500_000_000, "59.5s"),
            (60_000_000_000, "1m0s"),
            (61_020_000_000, "1m1.02s"),
            (3_600_500_000_000, "1h0m0.5s"),
            (360_000_000_000_000, "100h0m0s"),
        ] {
            assert_eq!(duration(nanos), text);
        }
    }

    #[test]
    fn hexadecimal_has_no_leading_zeros() {
        let hex = |number| {
            let mut out = Vec::new();
            write_hex(number, &mut out);
            String::from_utf8(out).unwrap()
        };
        for number in [0, 1, 0xf, 0x10, 0x3d0a, 0xfff, 0x1000, u64::MAX] {
            assert_eq!(hex(number), format!("{number:x}"));
        }
    }

    #[test]
    fn addresses_show_mapped_ipv4_as_ipv4_and_bracket_ipv6() {
        for (address, text) in [
            ("127.0.0.1:2045", "127.0.0.1:2045"),
            ("[::1]:80", "[::1]:80"),
            ("[::ffff:10.0.0.9]:65535", "10.0.0.9:65535"),
        ] {
            let mut out = Vec::new();
            write_address(address.parse().unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    proptest::proptest! {
        /// The text, read back by units, is the duration: nothing is lost or rounded.
        #[test]
        fn duration_text_is_exact(nanos in 0_u64..10_000_000_000_000) {
            let text = duration(nanos);
            let mut total = 0_u128;
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap();
                let (number, tail) = rest.split_at(digits);
                let units = [("ns", 1), ("µs", 1_000), ("ms", 1_000_000),
                    ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000_u128)];
                let (unit, scale) = units.into_iter().find(|(unit, _)| tail.starts_with(unit)).unwrap();
                let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
                total += whole.parse::<u128>().unwrap() * scale;
                if !fraction.is_empty() {
                    proptest::prop_assert!(!fraction.ends_with('0'));
                    total += fraction.parse::<u128>().unwrap() * scale / 10_u128.pow(fraction.len() as u32);
                }
                rest = &tail[unit.len()..];
            }
            proptest::prop_assert_eq!(total, u128::from(nanos));
        }
    }
}

//! The id that HTTP/1 requests show while tracing is off.

use std::{net::UdpSocket, sync::OnceLock};

use mosn_core::Protocol;

use super::LogContext;
use crate::{clock, text::write_int};

/// Appends the span's trace id, or for HTTP/1 the generated one: eight hexadecimal digits of this
/// machine's address, 13 digits of Unix milliseconds, four digits and the process id (observability
/// reference 5.2). HTTP/2 requests without a span have none, as in MOSN.
///
/// MOSN draws the four digits from a counter. Here they follow from the request itself, so that the id
/// is the same wherever it is asked for, in a header or in several logs, and costs nothing until then.
pub(super) fn write(cx: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    if let Some(id) = cx.trace_id {
        out.extend_from_slice(id);
        return true;
    }
    if cx.info.protocol != Protocol::Http1 {
        return false;
    }
    static MACHINE_AND_PID: OnceLock<(String, u32)> = OnceLock::new();
    let (machine, pid) = MACHINE_AND_PID.get_or_init(|| (machine(), std::process::id()));
    out.extend_from_slice(machine.as_bytes());
    write_int(clock::since_epoch(cx.info.start_wall).as_millis() as u64, out);
    write_int(four_digits(cx.info.stream_id, cx.info.connection.id), out);
    write_int(*pid, out);
    true
}

/// 1000 to 9001, as MOSN's counter runs.
fn four_digits(stream: u64, connection: u64) -> u64 {
    1000 + stream.wrapping_add(connection.wrapping_mul(7919)) % 8002
}

/// The address that this machine sends from, in hexadecimal; `00` if it has none but loopback.
fn machine() -> String {
    // Connecting a datagram socket sends nothing; it makes the kernel choose the source address. The
    // target is one that is reserved for documentation.
    let source = UdpSocket::bind(("0.0.0.0", 0)).and_then(|socket| {
        socket.connect(("192.0.2.1", 9))?;
        socket.local_addr()
    });
    match source.map(|address| address.ip()) {
        Ok(std::net::IpAddr::V4(ip)) if !ip.is_loopback() && !ip.is_unspecified() => {
            format!("{:08x}", u32::from(ip))
        }
        _ => "00".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_digits_stay_four_and_differ_between_neighbours() {
        for id in [0, 1, 8001, 8002, u64::MAX] {
            assert!((1000..=9001).contains(&four_digits(id, id)));
        }
        assert_ne!(four_digits(1, 1), four_digits(2, 1));
        assert_ne!(four_digits(1, 1), four_digits(1, 2));
    }
}

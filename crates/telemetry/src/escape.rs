//! Keeps bytes from the network from breaking a log's lines.

/// Replaces every control character in `out[from..]` by `\xNN`.
///
/// A value that a client chose (a header, a path, a query argument) would otherwise be able to end a
/// log line and forge the next, or to drive the terminal of whoever reads the log. Go MOSN writes
/// such bytes as they are.
pub(crate) fn escape_controls(out: &mut Vec<u8>, from: usize) {
    let Some(first) = out[from..].iter().position(|byte| byte.is_ascii_control()) else { return };
    let tail = out.split_off(from + first);
    for byte in tail {
        if byte.is_ascii_control() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible_and_the_rest_stays() {
        let mut out = b"kept\n|a\r\nb\0c\x1b[31m\x7f\xffd".to_vec();
        escape_controls(&mut out, 6);
        assert_eq!(out, b"kept\n|a\\x0d\\x0ab\\x00c\\x1b[31m\\x7f\xffd");
    }
}

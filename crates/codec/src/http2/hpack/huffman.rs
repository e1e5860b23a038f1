//! The Huffman code of strings (RFC 7541 5.2, appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols. So
//! the lengths say everything, and the tables are made of them.

use super::decode::DecodeError;

/// Bits of each symbol's code; the last is the end of string, which no string contains.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
const END_OF_STRING: u16 = 256;
const LONGEST: usize = 30;
/// Bits that the first look takes: every letter, digit and most of a URL's signs have no more.
const LOOK: u32 = 8;

struct Tables {
    /// By the next [`LOOK`] bits: a symbol and its code's length; length 0 = the code is longer.
    short: [(u8, u8); 1 << LOOK],
    /// All symbols, by code.
    ordered: [u16; 257],
    /// For each length: the first code above those of this length, and of all shorter ones, put at
    /// the left of 32 bits.
    above: [u64; LONGEST + 1],
    /// For each length: what to subtract from a code to get its place in `ordered`.
    offset: [i64; LONGEST + 1],
    codes: [u32; 257],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        short: [(0, 0); 1 << LOOK],
        ordered: [0; 257],
        above: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
        codes: [0; 257],
    };
    let (mut code, mut place, mut length) = (0_u64, 0_usize, 1_usize);
    while length <= LONGEST {
        code <<= 1;
        tables.offset[length] = code as i64 - place as i64;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                tables.ordered[place] = symbol as u16;
                tables.codes[symbol] = code as u32;
                if length <= LOOK as usize {
                    let spread = LOOK as usize - length;
                    let mut filler = 0;
                    while filler < 1 << spread {
                        let at = ((code as usize) << spread) | filler;
                        tables.short[at] = (symbol as u8, length as u8);
                        filler += 1;
                    }
                }
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        tables.above[length] = code << (32 - length);
        length += 1;
    }
    tables
}

/// Appends what `coded` stands for.
///
/// # Errors
/// When it contains the end of string, or what follows the last symbol is no padding.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut bytes = coded.iter();
    // The bits that are still to be read, at the left; below them zeros.
    let (mut bits, mut count) = (0_u64, 0_u32);
    loop {
        while count <= 56 {
            let Some(&byte) = bytes.next() else { break };
            bits |= u64::from(byte) << (56 - count);
            count += 8;
        }
        let (symbol, length) = TABLES.short[(bits >> (64 - LOOK)) as usize];
        let (symbol, length) = match u32::from(length) {
            0 => long(bits, count)?,
            length => (symbol, length),
        };
        if length > count {
            // What is left is padding: fewer than eight bits, all ones (RFC 7541 5.2).
            let padding = !0 << (64 - count.max(1));
            return if count == 0 || (count < 8 && bits == padding) {
                Ok(())
            } else {
                Err(DecodeError::Huffman)
            };
        }
        out.push(symbol);
        bits <<= length;
        count -= length;
    }
}

/// The next symbol, where its code is longer than the first look. Padding reads as a code that is
/// longer than what is there.
fn long(bits: u64, count: u32) -> Result<(u8, u32), DecodeError> {
    let next = bits >> 32;
    let mut length = LOOK as usize + 1;
    while length < LONGEST && next >= TABLES.above[length] {
        length += 1;
    }
    if length as u32 > count {
        return Ok((0, length as u32));
    }
    let place = (next >> (32 - length)) as i64 - TABLES.offset[length];
    match usize::try_from(place).ok().and_then(|place| TABLES.ordered.get(place)) {
        Some(&symbol) if symbol < END_OF_STRING => Ok((symbol as u8, length as u32)),
        _ => Err(DecodeError::Huffman),
    }
}

/// Appends `text` in the code.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for &byte in text {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        bits = (bits << length) | u64::from(TABLES.codes[usize::from(byte)]);
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push(((bits << (8 - count)) as u8) | (0xff >> count));
    }
}

/// Bytes of `text` in the code.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    text.iter().map(|&byte| usize::from(LENGTHS[usize::from(byte)])).sum::<usize>().div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        assert_eq!(out.len(), encoded_len(text));
        out
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn the_strings_of_appendix_c() {
        for (text, code) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
        ] {
            let hex: String = coded(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, code);
        }
    }

    #[test]
    fn every_byte_reads_back_alone_and_after_every_other() {
        for first in 0..=255 {
            assert_eq!(decoded(&coded(&[first])), Ok(vec![first]));
            for second in 0..=255 {
                let text = [first, second, first];
                assert_eq!(decoded(&coded(&text)), Ok(text.to_vec()));
            }
        }
    }

    #[test]
    fn wrong_padding_and_the_end_of_string_are_refused() {
        assert_eq!(decoded(&[]), Ok(Vec::new()));
        // `0` is 00000, then three bits of padding.
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        for wrong in
            [&[0b0000_0110][..], &[0b0000_0000], &[0xff], &[0b0000_0111, 0xff], &[0xff; 4], &[0xff; 20]]
        {
            assert_eq!(decoded(wrong), Err(DecodeError::Huffman), "{wrong:?}");
        }
    }
}

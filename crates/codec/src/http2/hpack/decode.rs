//! From header blocks to fields (RFC 7541 3, 6).

use std::collections::VecDeque;

use super::{
    DEFAULT_TABLE_SIZE, ENTRY_OVERHEAD, huffman, integer,
    integer::BadInteger,
    name::{Known, is_valid_name, is_valid_value, look_up},
    statics::STATIC,
};

/// Why a block cannot be decoded. The table is out of step with the peer's from then on, so that the
/// connection has to end (RFC 9113 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It ends within a field.
    Truncated,
    /// An integer ends too late.
    Integer,
    /// An index that neither table has.
    Index,
    /// A string that is no Huffman code.
    Huffman,
    /// A change of the table's size that is too large, or not at the beginning.
    TableSize,
}

impl From<BadInteger> for DecodeError {
    fn from(_: BadInteger) -> Self {
        Self::Integer
    }
}

/// A field as it was decoded.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// `name: value` and CRLF. Not to be used as such if the name or the value is not valid.
    pub text: &'a [u8],
    /// Bytes of the name.
    pub name_len: usize,
    /// What it is.
    pub known: Known,
    /// Whether name and value are what HTTP allows.
    pub valid: bool,
    /// Whether it must not be compressed with others, now or later.
    pub sensitive: bool,
}

impl<'a> Field<'a> {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        &self.text[..self.name_len]
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        &self.text[self.name_len + 2..self.text.len() - 2]
    }
}

/// One direction's decoder: the dynamic table that the peer's encoder keeps a twin of.
#[derive(Debug)]
pub struct Decoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
    /// What we allow the peer to make of `max_size`.
    limit: usize,
    /// The literal that is being read.
    literal: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    name_len: u32,
    name: Name,
    valid_value: bool,
}

/// What is known of a name, whichever table or literal it came from.
#[derive(Clone, Copy, Debug)]
struct Name {
    known: Known,
    valid: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max_size: DEFAULT_TABLE_SIZE,
            limit: DEFAULT_TABLE_SIZE,
            literal: Vec::new(),
        }
    }
}

impl Decoder {
    /// Decodes a whole block, and hands out its fields in order. On an error some may have been
    /// handed out already.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(&mut self, mut block: &[u8], mut each: impl FnMut(Field<'_>)) -> Result<(), DecodeError> {
        let mut first = true;
        while let Some(&byte) = block.first() {
            block = if byte & 0x80 != 0 {
                let (index, rest) = integer::read(block, 7)?;
                self.indexed(index, &mut each)?;
                rest
            } else if byte & 0x40 != 0 {
                let (name, rest) = self.literal(block, 6)?;
                self.hand_out(name, false, &mut each);
                self.insert(name);
                rest
            } else if byte & 0x20 != 0 {
                let (size, rest) = integer::read(block, 5)?;
                if !first || size > self.limit {
                    return Err(DecodeError::TableSize);
                }
                self.max_size = size;
                self.evict(0);
                // More than one may stand at the beginning (RFC 7541 4.2).
                block = rest;
                continue;
            } else {
                let (name, rest) = self.literal(block, 4)?;
                self.hand_out(name, byte & 0x10 != 0, &mut each);
                rest
            };
            first = false;
        }
        Ok(())
    }

    fn indexed(&self, index: usize, each: &mut impl FnMut(Field<'_>)) -> Result<(), DecodeError> {
        if let Some((text, name_len, known)) = index.checked_sub(1).and_then(|at| STATIC.get(at)) {
            let (name_len, known) = (*name_len, *known);
            each(Field { text: text.as_bytes(), name_len, known, valid: true, sensitive: false });
            return Ok(());
        }
        let entry = self.dynamic(index)?;
        each(Field {
            text: &entry.text,
            name_len: entry.name_len as usize,
            known: entry.name.known,
            valid: entry.name.valid & entry.valid_value,
            sensitive: false,
        });
        Ok(())
    }

    fn dynamic(&self, index: usize) -> Result<&Entry, DecodeError> {
        index.checked_sub(STATIC.len() + 1).and_then(|at| self.entries.get(at)).ok_or(DecodeError::Index)
    }

    /// Reads a literal (RFC 7541 6.2) as text, and what follows it.
    fn literal<'b>(
        &mut self,
        block: &'b [u8],
        prefix: u32,
    ) -> Result<((Name, usize), &'b [u8]), DecodeError> {
        let (index, mut rest) = integer::read(block, prefix)?;
        let mut literal = std::mem::take(&mut self.literal);
        literal.clear();
        let name = if index == 0 {
            rest = string(rest, &mut literal)?;
            Name { known: look_up(&literal).0, valid: is_valid_name(&literal) }
        } else if let Some((text, name_len, known)) = STATIC.get(index - 1) {
            literal.extend_from_slice(&text.as_bytes()[..*name_len]);
            Name { known: *known, valid: true }
        } else {
            let entry = self.dynamic(index)?;
            literal.extend_from_slice(&entry.text[..entry.name_len as usize]);
            entry.name
        };
        let name_len = literal.len();
        literal.extend_from_slice(b": ");
        rest = string(rest, &mut literal)?;
        literal.extend_from_slice(b"\r\n");
        self.literal = literal;
        Ok(((name, name_len), rest))
    }

    fn hand_out(&self, (name, name_len): (Name, usize), sensitive: bool, each: &mut impl FnMut(Field<'_>)) {
        let text = &self.literal[..];
        let valid = name.valid && is_valid_value(&text[name_len + 2..text.len() - 2]);
        each(Field { text, name_len, known: name.known, valid, sensitive });
    }

    /// Puts the literal into the table (RFC 7541 4.4).
    fn insert(&mut self, (name, name_len): (Name, usize)) {
        let cost = self.literal.len() - 4 + ENTRY_OVERHEAD;
        self.evict(cost);
        if cost > self.max_size {
            return;
        }
        self.size += cost;
        let valid_value = is_valid_value(&self.literal[name_len + 2..self.literal.len() - 2]);
        let text = self.literal.as_slice().into();
        self.entries.push_front(Entry { text, name_len: name_len as u32, name, valid_value });
    }

    /// Makes room for `cost`, or as much as there is.
    fn evict(&mut self, cost: usize) {
        while self.size + cost > self.max_size {
            let Some(entry) = self.entries.pop_back() else { break };
            self.size -= entry.text.len() - 4 + ENTRY_OVERHEAD;
        }
    }

    /// Gives up what memory it can between blocks.
    pub fn shrink(&mut self) {
        self.literal = Vec::new();
        self.entries.shrink_to_fit();
    }
}

/// Reads a string literal (RFC 7541 5.2), and what follows it.
fn string<'b>(bytes: &'b [u8], out: &mut Vec<u8>) -> Result<&'b [u8], DecodeError> {
    let &first = bytes.first().ok_or(DecodeError::Truncated)?;
    let (length, rest) = integer::read(bytes, 7)?;
    if length > rest.len() {
        return Err(DecodeError::Truncated);
    }
    let (string, rest) = rest.split_at(length);
    if first & 0x80 == 0 {
        out.extend_from_slice(string);
    } else {
        huffman::decode(string, out)?;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        digits
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, DecodeError> {
        let mut fields = Vec::new();
        decoder.decode(block, |field| {
            fields.push(String::from_utf8_lossy(&[field.name(), b"=", field.value()].concat()).into_owned());
        })?;
        Ok(fields)
    }

    /// Blocks of one connection: what they decode to, and the size of the table afterwards.
    fn connection(limit: usize, blocks: &[(&str, &[&str], usize)]) {
        let mut decoder = Decoder { max_size: limit, limit, ..Decoder::default() };
        for (block, expected, size) in blocks {
            assert_eq!(fields(&mut decoder, &bytes(block)).unwrap(), *expected);
            assert_eq!(decoder.size, *size);
        }
    }

    #[test]
    fn the_representations_of_appendix_c_2() {
        connection(
            4096,
            &[("400a637573746f6d2d6b65790d637573746f6d2d686561646572", &["custom-key=custom-header"], 55)],
        );
        connection(4096, &[("040c2f73616d706c652f70617468", &[":path=/sample/path"], 0)]);
        let mut decoder = Decoder::default();
        decoder
            .decode(&bytes("100870617373776f726406736563726574"), |field| {
                assert!(field.sensitive && field.name() == b"password" && field.value() == b"secret");
            })
            .unwrap();
        assert_eq!(decoder.size, 0);
        connection(4096, &[("82", &[":method=GET"], 0)]);
    }

    #[test]
    fn the_requests_of_appendices_c_3_and_c_4() {
        let first = [":method=GET", ":scheme=http", ":path=/", ":authority=www.example.com"];
        let second = [&first[..], &["cache-control=no-cache"]].concat();
        let third = [
            ":method=GET",
            ":scheme=https",
            ":path=/index.html",
            ":authority=www.example.com",
            "custom-key=custom-value",
        ];
        for [a, b, c] in [
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
        ] {
            connection(4096, &[(a, &first, 57), (b, &second, 110), (c, &third, 164)]);
        }
    }

    #[test]
    fn the_responses_of_appendices_c_5_and_c_6_with_evictions() {
        let rest = [
            "cache-control=private",
            "date=Mon, 21 Oct 2013 20:13:21 GMT",
            "location=https://www.example.com",
        ];
        let first = [&[":status=302"][..], &rest].concat();
        let second = [&[":status=307"][..], &rest].concat();
        let third = [
            ":status=200",
            "cache-control=private",
            "date=Mon, 21 Oct 2013 20:13:22 GMT",
            "location=https://www.example.com",
            "content-encoding=gzip",
            "set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ];
        for [a, b, c] in [
            [
                "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
                "4803333037c1c0bf",
                "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
            ],
            [
                "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
                "4883640effc1c0bf",
                "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ],
        ] {
            connection(256, &[(a, &first, 222), (b, &second, 222), (c, &third, 215)]);
        }
    }

    #[test]
    fn blocks_that_end_early_or_ask_for_too_much_are_refused() {
        use DecodeError as E;
        for (block, error) in [
            ("80", E::Index),
            ("be", E::Index),
            ("7f", E::Integer),
            ("40", E::Truncated),
            ("4003", E::Truncated),
            ("40036162", E::Truncated),
            ("400161", E::Truncated),
            ("40016105", E::Truncated),
            ("ffffffffffff", E::Integer),
            ("3fe21f", E::TableSize),
            ("8220", E::TableSize),
            ("00 81 00", E::Huffman),
        ] {
            assert_eq!(fields(&mut Decoder::default(), &bytes(block)), Err(error), "{block}");
        }
        assert_eq!(fields(&mut Decoder::default(), &bytes("203fe11f82")), Ok(vec![":method=GET".into()]));
    }

    #[test]
    fn what_http_does_not_allow_is_marked_wherever_it_comes_from() {
        let mut decoder = Decoder::default();
        let mut valid = Vec::new();
        // An upper-case name and a value with a line feed go into the table, and come out of it.
        let block = bytes("40 0141 0162 40 0161 010a be bf 7e 0162");
        decoder.decode(&block, |field| valid.push(field.valid)).unwrap();
        assert_eq!(valid, [false, false, false, false, true]);
    }
}

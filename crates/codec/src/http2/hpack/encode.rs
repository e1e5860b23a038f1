//! From fields to header blocks (RFC 7541 6).

use std::collections::VecDeque;

use super::{
    DEFAULT_TABLE_SIZE, ENTRY_OVERHEAD, huffman, integer,
    name::{Known, look_up},
    statics::STATIC,
};

/// Fields that are remembered to be recognised when they come again.
const SLOTS: usize = 64;
/// The largest share of the table that one entry may take.
const LARGEST_SHARE: usize = 4;

/// One direction's encoder.
///
/// A field goes into the dynamic table when it is seen for the second time: what is sent once does not
/// push out what repeats, and costs no more than its copy.
#[derive(Debug)]
pub struct Encoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
    /// How many entries there have ever been.
    inserted: u32,
    /// By a field's hash: the last that had it. Empty until there is a field.
    slots: Vec<Slot>,
    /// The smallest size that the table has had since the last block, if that must be said.
    resized: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    name: Box<[u8]>,
    value: Box<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    /// The entry, counted from 1; 0 = seen, but not in the table.
    entry: u32,
    known: Known,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max_size: DEFAULT_TABLE_SIZE,
            inserted: 0,
            slots: Vec::new(),
            resized: None,
        }
    }
}

impl Encoder {
    /// Follows the peer's `SETTINGS_HEADER_TABLE_SIZE`.
    pub fn set_max_size(&mut self, size: u32) {
        let size = (size as usize).min(DEFAULT_TABLE_SIZE);
        if size == self.max_size {
            return;
        }
        self.max_size = size;
        self.evict(0);
        self.resized = Some(self.resized.map_or(size, |smallest| smallest.min(size)));
    }

    /// Begins a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(smallest) = self.resized.take() {
            if smallest < self.max_size {
                integer::write(out, 0x20, 5, smallest);
            }
            integer::write(out, 0x20, 5, self.max_size);
        }
    }

    /// `:status`.
    pub fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digits = [
                    b'0' + (status / 100 % 10) as u8,
                    b'0' + (status / 10 % 10) as u8,
                    b'0' + (status % 10) as u8,
                ];
                integer::write(out, 0, 4, 8);
                string(out, &digits);
                return;
            }
        };
        out.push(0x80 | index);
    }

    /// `:method`.
    pub fn method(&mut self, out: &mut Vec<u8>, method: &[u8]) {
        match method {
            b"GET" => out.push(0x82),
            b"POST" => out.push(0x83),
            _ => self.pseudo(out, b":method", method, 2),
        }
    }

    /// `:scheme`.
    pub fn scheme(&mut self, out: &mut Vec<u8>, scheme: &[u8]) {
        match scheme {
            b"http" => out.push(0x86),
            b"https" => out.push(0x87),
            _ => self.pseudo(out, b":scheme", scheme, 6),
        }
    }

    /// `:authority`.
    pub fn authority(&mut self, out: &mut Vec<u8>, authority: &[u8]) {
        self.pseudo(out, b":authority", authority, 1);
    }

    /// `:path`.
    pub fn path(&mut self, out: &mut Vec<u8>, path: &[u8]) {
        match path {
            b"/" => out.push(0x84),
            _ => self.pseudo(out, b":path", path, 4),
        }
    }

    /// `:protocol` (RFC 8441 4).
    pub fn protocol(&mut self, out: &mut Vec<u8>, protocol: &[u8]) {
        self.pseudo(out, b":protocol", protocol, 0);
    }

    /// Any other field. `keep` is asked about names that mean something to HTTP/2.
    pub fn field(
        &mut self,
        out: &mut Vec<u8>,
        name: &[u8],
        value: &[u8],
        sensitive: bool,
        keep: impl FnOnce(Known) -> bool,
    ) {
        let mut lowered = [0; 64];
        let long;
        let name = if !name.iter().any(u8::is_ascii_uppercase) {
            name
        } else if let Some(lower) = lowered.get_mut(..name.len()) {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            &*lower
        } else {
            long = name.to_ascii_lowercase();
            &long
        };
        if sensitive {
            let (known, index) = look_up(name);
            if (known == Known::Other || keep(known)) && !known.is_pseudo() {
                literal(out, 0x10, 4, name, value, index);
            }
            return;
        }
        let hash = hash(name, value);
        if let Some((age, known)) = self.find(hash, name, value) {
            if known == Known::Other || keep(known) {
                integer::write(out, 0x80, 7, STATIC.len() + 1 + age);
            }
            return;
        }
        let (known, index) = look_up(name);
        if known != Known::Other && (known.is_pseudo() || !keep(known)) {
            return;
        }
        if is_secret(name, value) {
            literal(out, 0x10, 4, name, value, index);
        } else {
            self.miss(out, hash, name, value, (known, index));
        }
    }

    /// A pseudo-header field, and its name's place in the static table.
    fn pseudo(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], index: u8) {
        let hash = hash(name, value);
        match self.find(hash, name, value) {
            Some((age, _)) => integer::write(out, 0x80, 7, STATIC.len() + 1 + age),
            None => self.miss(out, hash, name, value, (Known::Other, index)),
        }
    }

    /// Where in the dynamic table the field is, counted from the newest entry, and what it is.
    fn find(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<(usize, Known)> {
        let slot = self.slots.get(hash as usize % SLOTS)?;
        if slot.hash != hash || slot.entry == 0 {
            return None;
        }
        let age = self.inserted.wrapping_sub(slot.entry) as usize;
        let entry = self.entries.get(age)?;
        (*entry.name == *name && *entry.value == *value).then_some((age, slot.known))
    }

    /// Writes the field as a literal, and puts it into the table if it has been seen before.
    fn miss(&mut self, out: &mut Vec<u8>, hash: u32, name: &[u8], value: &[u8], (known, index): (Known, u8)) {
        if self.slots.is_empty() {
            self.slots = vec![Slot { hash: 0, entry: 0, known: Known::Other }; SLOTS];
        }
        let cost = name.len() + value.len() + ENTRY_OVERHEAD;
        let slot = &mut self.slots[hash as usize % SLOTS];
        if slot.hash != hash || cost > self.max_size / LARGEST_SHARE {
            *slot = Slot { hash, entry: 0, known };
            literal(out, 0, 4, name, value, index);
            return;
        }
        literal(out, 0x40, 6, name, value, index);
        self.inserted = self.inserted.wrapping_add(1);
        // The one that gets 0 when the count comes round is not found again.
        slot.entry = self.inserted;
        self.evict(cost);
        self.size += cost;
        self.entries.push_front(Entry { name: name.into(), value: value.into() });
    }

    fn evict(&mut self, cost: usize) {
        while self.size + cost > self.max_size {
            let Some(entry) = self.entries.pop_back() else { break };
            self.size -= entry.name.len() + entry.value.len() + ENTRY_OVERHEAD;
        }
    }
}

/// Fields that must not be told by how well they compress (RFC 7541 7.1.3): credentials, and cookies
/// that are short enough to be guessed.
fn is_secret(name: &[u8], value: &[u8]) -> bool {
    match name.len() {
        6 => name == b"cookie" && value.len() < 20,
        13 => name == b"authorization",
        19 => name == b"proxy-authorization",
        _ => false,
    }
}

fn literal(out: &mut Vec<u8>, pattern: u8, prefix: u32, name: &[u8], value: &[u8], index: u8) {
    integer::write(out, pattern, prefix, usize::from(index));
    if index == 0 {
        string(out, name);
    }
    string(out, value);
}

/// Appends a string, coded where it is long and the code makes it much shorter.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() > LONG {
        let coded = huffman::encoded_len(text);
        if coded < text.len() {
            integer::write(out, 0x80, 7, coded);
            huffman::encode(text, out);
            return;
        }
    }
    integer::write(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// Strings up to this long are copied: coding them would cost more than the bytes that it saves.
const LONG: usize = 512;

/// Tells fields apart well enough for the slots; what it confuses is compared.
fn hash(name: &[u8], value: &[u8]) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = (name.len() as u64) << 32 | value.len() as u64;
    for part in [name, value] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(MULTIPLIER);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::{super::Decoder, *};

    fn block(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        encoder.begin(&mut out);
        for (name, value) in fields {
            encoder.field(&mut out, name.as_bytes(), value.as_bytes(), false, |_| true);
        }
        out
    }

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String, bool)> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder
            .decode(block, |field| fields.push((text(field.name()), text(field.value()), field.sensitive)))
            .expect("what we encode");
        fields
    }

    #[test]
    fn a_field_is_compressed_from_its_third_time_on() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let fields = [("content-type", "text/plain"), ("x-one", "1"), ("Server", "us")];
        let mut lengths = Vec::new();
        for _ in 0..4 {
            let block = block(&mut encoder, &fields);
            lengths.push(block.len());
            let names: Vec<String> = decoded(&mut decoder, &block).into_iter().map(|field| field.0).collect();
            assert_eq!(names, ["content-type", "x-one", "server"]);
        }
        assert_eq!(lengths[2..], [3, 3]);
        assert!(lengths[0] > 20);
    }

    #[test]
    fn secrets_are_never_indexed() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for _ in 0..3 {
            let mut block = block(&mut encoder, &[("authorization", "Basic eA=="), ("cookie", "a=b")]);
            encoder.field(&mut block, b"x-token", b"1", true, |_| true);
            assert!(decoded(&mut decoder, &block).iter().all(|(_, _, sensitive)| *sensitive));
        }
        assert!(encoder.entries.is_empty());
    }

    #[test]
    fn fields_that_http2_has_no_room_for_can_be_left_out() {
        let mut out = Vec::new();
        let mut encoder = Encoder::default();
        for name in ["Connection", "keep-alive", "upgrade", ":path"] {
            encoder.field(&mut out, name.as_bytes(), b"x", false, |known| known != Known::Connection);
        }
        assert!(out.is_empty());
    }

    #[test]
    fn the_table_shrinks_when_the_peer_says_so_and_the_next_block_says_it() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let fields = [("x-one", "1"), ("x-two", "2")];
        for _ in 0..3 {
            let block = block(&mut encoder, &fields);
            decoded(&mut decoder, &block);
        }
        assert_eq!(encoder.entries.len(), 2);
        encoder.set_max_size(0);
        encoder.set_max_size(200);
        assert!(encoder.entries.is_empty());
        for _ in 0..3 {
            let block = block(&mut encoder, &fields);
            assert_eq!(decoded(&mut decoder, &block).len(), 2);
        }
        assert_eq!((encoder.entries.len(), encoder.max_size), (2, 200));
        encoder.set_max_size(1 << 20);
        assert_eq!(encoder.max_size, DEFAULT_TABLE_SIZE);
    }

    #[test]
    fn a_table_that_is_full_forgets_the_oldest() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for round in 0..500 {
            let (name, value) = (format!("x-{}", round % 97), "v".repeat(round % 50));
            for _ in 0..3 {
                let block = block(&mut encoder, &[(&name, &value)]);
                let fields = decoded(&mut decoder, &block);
                assert_eq!((&fields[0].0, &fields[0].1), (&name, &value));
            }
            assert!(encoder.size <= DEFAULT_TABLE_SIZE);
        }
    }
}

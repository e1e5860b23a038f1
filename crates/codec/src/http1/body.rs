use bytes::Bytes;
use mosn_core::{FieldList, Headers};

/// Bytes of a chunk's size line, extensions included. They carry nothing that anybody needs.
const MAX_CHUNK_LINE: u32 = 256;
/// Bytes and fields of a trailer section.
const MAX_TRAILER_BYTES: usize = 8192;
const MAX_TRAILER_FIELDS: usize = 64;

/// A body that breaks its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BodyError {
    ChunkSize,
    ChunkEnd,
    Trailers,
    /// The connection ended before the body did.
    Truncated,
}

/// Takes a body out of the bytes that follow a head. Holds no bytes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyDecoder(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This many bytes are left.
    Length(u64),
    /// All bytes until the connection ends.
    ToEof,
    Chunked(Chunk),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the digits of a size: how many there were, and their value.
    Size {
        digits: u8,
        size: u64,
        line: u32,
    },
    /// In blanks or an extension after the digits.
    Extension {
        size: u64,
        line: u32,
    },
    /// After the CR of a size line.
    SizeLf {
        size: u64,
    },
    /// This many bytes of the chunk are left, at least one.
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of the trailer section, which is taken as a whole.
    Trailers,
}

/// What one call to [`BodyDecoder::decode`] took.
#[derive(Debug)]
pub enum Decoded {
    /// Nothing to hand on yet; more bytes are needed.
    NeedMore,
    /// These bytes, a range of the input: start and length.
    Data(usize, usize),
    /// The body is over; trailers if there were any.
    End(Option<Headers>),
}

impl BodyDecoder {
    /// A body of exactly `length` bytes.
    #[must_use]
    pub const fn length(length: u64) -> Self {
        Self(if length == 0 { State::Done } else { State::Length(length) })
    }

    /// A chunked body.
    #[must_use]
    pub const fn chunked() -> Self {
        Self(State::Chunked(Chunk::Size { digits: 0, size: 0, line: 0 }))
    }

    /// A body, or a tunnel, that lasts until the connection ends.
    #[must_use]
    pub const fn to_eof() -> Self {
        Self(State::ToEof)
    }

    /// Whether the body is over.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// How many bytes are certain to belong to the body still; a hint for reading.
    #[must_use]
    pub const fn remaining(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) | State::Chunked(Chunk::Data(left)) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece of body from `input`. Returns how many bytes of `input` are used up
    /// and what they were. Call again with the rest until it needs more.
    ///
    /// # Errors
    /// When the bytes break the chunked framing (RFC 9112 7.1). The decoder is useless then.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, Decoded), BodyError> {
        match &mut self.0 {
            State::Done => Ok((0, Decoded::End(None))),
            State::ToEof if input.is_empty() => Ok((0, Decoded::NeedMore)),
            State::ToEof => Ok((input.len(), Decoded::Data(0, input.len()))),
            State::Length(_) if input.is_empty() => Ok((0, Decoded::NeedMore)),
            State::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= take as u64;
                if *left == 0 {
                    self.0 = State::Done;
                }
                Ok((take, Decoded::Data(0, take)))
            }
            State::Chunked(chunk) => {
                let (used, decoded) = chunk.decode(input)?;
                if matches!(decoded, Decoded::End(_)) {
                    self.0 = State::Done;
                }
                Ok((used, decoded))
            }
        }
    }

    /// The connection ended: whether the body was complete.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] unless the body lasts until the end of the connection, or was over.
    pub fn eof(&mut self) -> Result<(), BodyError> {
        match self.0 {
            State::ToEof | State::Done => {
                self.0 = State::Done;
                Ok(())
            }
            State::Length(_) | State::Chunked(_) => Err(BodyError::Truncated),
        }
    }
}

impl Chunk {
    fn decode(&mut self, input: &[u8]) -> Result<(usize, Decoded), BodyError> {
        let mut at = 0;
        loop {
            if let Self::Trailers = self {
                return trailers(&input[at..]).map(|(used, decoded)| (at + used, decoded));
            }
            let Some(&byte) = input.get(at) else {
                return Ok((at, Decoded::NeedMore));
            };
            *self = match *self {
                Self::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                    let left = left - take as u64;
                    *self = if left == 0 { Self::DataCr } else { Self::Data(left) };
                    return Ok((at + take, Decoded::Data(at, take)));
                }
                Self::Size { digits, size, line } => match (hex(byte), byte) {
                    // 15 digits fit in 60 bits; nobody needs a chunk beyond that.
                    (Some(_), _) if digits == 15 => return Err(BodyError::ChunkSize),
                    (Some(digit), _) => {
                        Self::Size { digits: digits + 1, size: size * 16 + u64::from(digit), line: line + 1 }
                    }
                    (None, _) if digits == 0 => return Err(BodyError::ChunkSize),
                    (None, b'\r') => Self::SizeLf { size },
                    (None, b';' | b' ' | b'\t') => Self::Extension { size, line: line + 1 },
                    _ => return Err(BodyError::ChunkSize),
                },
                Self::Extension { size, line } => match byte {
                    b'\r' => Self::SizeLf { size },
                    b'\t' | b' '..=b'~' | 0x80.. if line < MAX_CHUNK_LINE => {
                        Self::Extension { size, line: line + 1 }
                    }
                    _ => return Err(BodyError::ChunkSize),
                },
                Self::SizeLf { size } if byte == b'\n' => {
                    if size == 0 {
                        Self::Trailers
                    } else {
                        Self::Data(size)
                    }
                }
                Self::SizeLf { .. } => return Err(BodyError::ChunkSize),
                Self::DataCr if byte == b'\r' => Self::DataLf,
                Self::DataLf if byte == b'\n' => Self::Size { digits: 0, size: 0, line: 0 },
                Self::DataCr | Self::DataLf => return Err(BodyError::ChunkEnd),
                Self::Trailers => Self::Trailers,
            };
            at += 1;
        }
    }
}

/// Takes the trailer section as a whole, so that no half of it needs to be kept here.
fn trailers(input: &[u8]) -> Result<(usize, Decoded), BodyError> {
    match input {
        [b'\r', b'\n', ..] => return Ok((2, Decoded::End(None))),
        [] | [b'\r'] => return Ok((0, Decoded::NeedMore)),
        _ => {}
    }
    let mut storage = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    match httparse::parse_headers(input, &mut storage) {
        Ok(httparse::Status::Complete((used, fields))) if used <= MAX_TRAILER_BYTES => {
            let block = Bytes::copy_from_slice(&input[..used]);
            let mut list = FieldList::with_block(block, fields.len());
            let base = input.as_ptr() as usize;
            let range = |part: &[u8]| (part.as_ptr() as usize - base, part.len());
            for field in fields.iter().filter(|field| !forbidden_trailer(field.name)) {
                list.push_range(range(field.name.as_bytes()), range(field.value));
            }
            let trailers = (!list.is_empty()).then_some(Headers::List(list));
            Ok((used, Decoded::End(trailers)))
        }
        Ok(httparse::Status::Partial) if input.len() < MAX_TRAILER_BYTES => Ok((0, Decoded::NeedMore)),
        _ => Err(BodyError::Trailers),
    }
}

/// RFC 9110 6.5.1: fields that frame or route a message must not come after it.
fn forbidden_trailer(name: &str) -> bool {
    ["content-length", "transfer-encoding", "host", "connection", "te", "trailer", "upgrade", "keep-alive"]
        .iter()
        .any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `input` in pieces cut at `cuts`; the data, the trailers and the bytes that were left.
    fn feed(
        mut decoder: BodyDecoder,
        input: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<u8>, Option<Headers>, usize), BodyError> {
        let mut cuts = cuts.to_vec();
        cuts.push(input.len());
        let (mut data, mut start) = (Vec::new(), 0);
        for end in cuts {
            loop {
                let (used, decoded) = decoder.decode(&input[start..end])?;
                match decoded {
                    Decoded::NeedMore => {
                        start += used;
                        break;
                    }
                    Decoded::Data(at, len) => data.extend_from_slice(&input[start + at..start + at + len]),
                    Decoded::End(trailers) => return Ok((data, trailers, input.len() - start - used)),
                }
                start += used;
            }
        }
        decoder.eof().map(|()| (data, None, input.len() - start))
    }

    const BODY: &[u8] = b"4;name=\"v\"\r\nWiki\r\n5 \r\npedia\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\nNEXT";

    #[test]
    fn chunks_and_trailers_are_the_same_wherever_the_bytes_are_split() {
        for at in 0..=BODY.len() {
            let (data, trailers, rest) = feed(BodyDecoder::chunked(), BODY, &[at]).unwrap();
            assert_eq!((&data[..], rest), (&b"Wikipedia"[..], 4), "split at {at}");
            let trailers = trailers.unwrap();
            assert_eq!(trailers.get("x-sum"), Some(&b"1"[..]));
            assert!(!trailers.contains("host"), "a trailer must not frame or route");
        }
        let every: Vec<usize> = (0..BODY.len()).collect();
        assert_eq!(feed(BodyDecoder::chunked(), BODY, &every).unwrap().0, b"Wikipedia");
    }

    #[test]
    fn broken_chunks_are_refused() {
        for (body, error) in [
            (&b"\r\n"[..], BodyError::ChunkSize),
            (b"g\r\n", BodyError::ChunkSize),
            (b"-1\r\n", BodyError::ChunkSize),
            (b"0x4\r\nWiki", BodyError::ChunkSize),
            (b"4\nWiki\r\n", BodyError::ChunkSize),
            (b"4\rXWiki\r\n", BodyError::ChunkSize),
            (b"4;a\nWiki\r\n", BodyError::ChunkSize),
            (b"4;a\0\r\nWiki\r\n", BodyError::ChunkSize),
            (b"4\r\nWikiX\r\n", BodyError::ChunkEnd),
            (b"4\r\nWiki\n0\r\n\r\n", BodyError::ChunkEnd),
            (b"1000000000000000\r\n", BodyError::ChunkSize),
            (b"0\r\nBad Name: x\r\n\r\n", BodyError::Trailers),
            (b"4\r\nWi", BodyError::Truncated),
            (b"4\r\nWiki\r\n0\r\n", BodyError::Truncated),
        ] {
            assert_eq!(
                feed(BodyDecoder::chunked(), body, &[]).unwrap_err(),
                error,
                "{:?}",
                String::from_utf8_lossy(body)
            );
        }
        let long = [b"4;".as_slice(), &[b'a'; 300], b"\r\n"].concat();
        assert_eq!(feed(BodyDecoder::chunked(), &long, &[]).unwrap_err(), BodyError::ChunkSize);
        let long = [b"0\r\nX: ".as_slice(), &[b'a'; 9000]].concat();
        assert_eq!(feed(BodyDecoder::chunked(), &long, &[]).unwrap_err(), BodyError::Trailers);
    }

    #[test]
    fn a_counted_body_ends_at_its_length_and_is_truncated_before() {
        let (data, _, rest) = feed(BodyDecoder::length(3), b"abcNEXT", &[1, 2]).unwrap();
        assert_eq!((&data[..], rest), (&b"abc"[..], 4));
        assert_eq!(feed(BodyDecoder::length(3), b"ab", &[]).unwrap_err(), BodyError::Truncated);
        assert_eq!(feed(BodyDecoder::to_eof(), b"ab", &[]).unwrap().0, b"ab");
    }

    proptest! {
        #[test]
        fn any_split_of_any_chunking_gives_the_data_back(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(0..400_usize, 0..6),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\nrest");
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= body.len()).collect();
            cuts.sort_unstable();
            let (data, trailers, rest) = feed(BodyDecoder::chunked(), &body, &cuts).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert!(trailers.is_none());
            prop_assert_eq!(rest, 4);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = feed(BodyDecoder::chunked(), &bytes, &[bytes.len() / 2]);
        }
    }
}

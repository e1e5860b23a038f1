use super::{ErrorCode, FRAME_HEAD, FrameError, MAX_FRAME, Settings};

/// Kinds of frames (RFC 9113 6).
#[allow(missing_docs, reason = "named as in the RFC")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags (RFC 9113 6).
pub(super) mod flag {
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// The first nine bytes of a frame (RFC 9113 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the payload.
    pub length: usize,
    /// See [`kind`].
    pub kind: u8,
    /// Flags, whose meaning depends on the kind.
    pub flags: u8,
    /// The stream; 0 = the connection.
    pub stream: u32,
}

/// A frame's payload.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a>(&'a [u8]);

/// A frame, checked for what can be said of it alone.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// A piece of a body.
    Data {
        /// The piece, without padding.
        data: &'a [u8],
        /// Whether it is the last.
        end: bool,
    },
    /// A header block, or the beginning of one.
    Headers {
        /// The block, or so much of it.
        block: &'a [u8],
        /// Whether no body follows.
        end_stream: bool,
        /// Whether the block is complete.
        end_headers: bool,
    },
    /// More of a header block.
    Continuation {
        /// So much of it.
        block: &'a [u8],
        /// Whether it is complete.
        end_headers: bool,
    },
    /// The stream is over.
    Reset(ErrorCode),
    /// What the peer wants of us.
    Settings(Settings<'a>),
    /// The peer has seen what we want.
    SettingsAck,
    /// To be sent back.
    Ping([u8; 8]),
    /// What we sent.
    Pong([u8; 8]),
    /// The peer opens no more streams, and has begun none above `last`.
    GoAway {
        /// The last stream that it may have begun.
        last: u32,
        /// Why.
        code: ErrorCode,
    },
    /// More room; 0 is an error of the stream, or of the connection.
    WindowUpdate(u32),
    /// Server push, which nobody may send us.
    PushPromise,
    /// Of no meaning to us: PRIORITY, and kinds that are not known.
    Ignored,
}

/// The frame at the start of `bytes`; `None` = more bytes are needed.
///
/// # Errors
/// When it is larger than any that we take.
pub fn next_frame(bytes: &[u8]) -> Result<Option<(FrameHead, Payload<'_>)>, FrameError> {
    let Some(([a, b, c, kind, flags, stream @ ..], rest)) = bytes.split_first_chunk::<FRAME_HEAD>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge);
    }
    let stream = u32::from_be_bytes(*stream) & 0x7fff_ffff;
    let head = FrameHead { length, kind: *kind, flags: *flags, stream };
    Ok(rest.get(..length).map(|payload| (head, Payload(payload))))
}

impl FrameHead {
    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn parse(self, Payload(payload): Payload<'_>) -> Result<Frame<'_>, FrameError> {
        use FrameError::{Dependency, Length, Stream};
        let of_stream = match self.kind {
            kind::DATA..=kind::RST_STREAM | kind::PUSH_PROMISE | kind::CONTINUATION => Some(true),
            kind::SETTINGS | kind::PING | kind::GOAWAY => Some(false),
            _ => None,
        };
        if of_stream.is_some_and(|of_stream| of_stream != (self.stream != 0)) {
            return Err(Stream);
        }
        Ok(match self.kind {
            kind::DATA => Frame::Data { data: self.unpadded(payload)?, end: self.has(flag::END_STREAM) },
            kind::HEADERS => {
                let mut block = self.unpadded(payload)?;
                if self.has(flag::PRIORITY) {
                    let (priority, rest) = block.split_first_chunk::<5>().ok_or(Length)?;
                    if self.depends_on_itself(priority) {
                        return Err(Dependency);
                    }
                    block = rest;
                }
                Frame::Headers {
                    block,
                    end_stream: self.has(flag::END_STREAM),
                    end_headers: self.has(flag::END_HEADERS),
                }
            }
            kind::CONTINUATION => {
                Frame::Continuation { block: payload, end_headers: self.has(flag::END_HEADERS) }
            }
            kind::PRIORITY => {
                let priority = payload.try_into().map_err(|_| Length)?;
                if self.depends_on_itself(priority) {
                    return Err(Dependency);
                }
                Frame::Ignored
            }
            kind::RST_STREAM => Frame::Reset(ErrorCode(number(payload)?)),
            kind::SETTINGS if self.has(flag::ACK) => {
                if !payload.is_empty() {
                    return Err(Length);
                }
                Frame::SettingsAck
            }
            kind::SETTINGS if payload.len() % 6 == 0 => Frame::Settings(Settings(payload)),
            kind::SETTINGS => return Err(Length),
            kind::PUSH_PROMISE => Frame::PushPromise,
            kind::PING => {
                let payload = payload.try_into().map_err(|_| Length)?;
                if self.has(flag::ACK) { Frame::Pong(payload) } else { Frame::Ping(payload) }
            }
            kind::GOAWAY => {
                let (last, rest) = payload.split_first_chunk::<4>().ok_or(Length)?;
                let (code, _) = rest.split_first_chunk::<4>().ok_or(Length)?;
                Frame::GoAway {
                    last: u32::from_be_bytes(*last) & 0x7fff_ffff,
                    code: ErrorCode(u32::from_be_bytes(*code)),
                }
            }
            kind::WINDOW_UPDATE => Frame::WindowUpdate(number(payload)? & 0x7fff_ffff),
            _ => Frame::Ignored,
        })
    }

    fn unpadded(self, payload: &[u8]) -> Result<&[u8], FrameError> {
        if !self.has(flag::PADDED) {
            return Ok(payload);
        }
        let (&padding, rest) = payload.split_first().ok_or(FrameError::Length)?;
        let length = rest.len().checked_sub(usize::from(padding)).ok_or(FrameError::Padding)?;
        Ok(&rest[..length])
    }

    const fn depends_on_itself(self, [a, b, c, d, _]: &[u8; 5]) -> bool {
        u32::from_be_bytes([*a, *b, *c, *d]) & 0x7fff_ffff == self.stream
    }
}

fn number(payload: &[u8]) -> Result<u32, FrameError> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| FrameError::Length)
}

#[cfg(test)]
mod tests {
    use super::{super::Setting, *};

    fn parse(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<Frame<'_>, FrameError> {
        FrameHead { length: payload.len(), kind, flags, stream }.parse(Payload(payload))
    }

    #[test]
    fn frames_of_the_wrong_length_or_on_the_wrong_stream_are_refused() {
        use FrameError as E;
        let cases: &[(u8, u8, u32, &[u8], E)] = &[
            (kind::DATA, 0, 0, b"x", E::Stream),
            (kind::HEADERS, 0, 0, b"x", E::Stream),
            (kind::PRIORITY, 0, 0, &[0; 5], E::Stream),
            (kind::RST_STREAM, 0, 0, &[0; 4], E::Stream),
            (kind::CONTINUATION, 0, 0, b"", E::Stream),
            (kind::SETTINGS, 0, 1, b"", E::Stream),
            (kind::PING, 0, 1, &[0; 8], E::Stream),
            (kind::GOAWAY, 0, 1, &[0; 8], E::Stream),
            (kind::PRIORITY, 0, 1, &[0; 4], E::Length),
            (kind::PRIORITY, 0, 3, &[0, 0, 0, 3, 0], E::Dependency),
            (kind::HEADERS, flag::PRIORITY, 3, &[0, 0, 0, 3, 0, 0x82], E::Dependency),
            (kind::HEADERS, flag::PRIORITY, 3, &[0; 4], E::Length),
            (kind::RST_STREAM, 0, 1, &[0; 3], E::Length),
            (kind::SETTINGS, 0, 0, &[0; 5], E::Length),
            (kind::SETTINGS, flag::ACK, 0, &[0; 6], E::Length),
            (kind::PING, 0, 0, &[0; 7], E::Length),
            (kind::GOAWAY, 0, 0, &[0; 7], E::Length),
            (kind::WINDOW_UPDATE, 0, 0, &[0; 3], E::Length),
            (kind::DATA, flag::PADDED, 1, b"", E::Length),
            (kind::DATA, flag::PADDED, 1, &[2, 0], E::Padding),
            (kind::HEADERS, flag::PADDED, 1, &[9, 0], E::Padding),
        ];
        for (kind, flags, stream, payload, error) in cases {
            assert_eq!(parse(*kind, *flags, *stream, payload).unwrap_err(), *error, "{kind} {payload:?}");
        }
        assert_eq!(next_frame(&[0, 0x40, 1, 0, 0, 0, 0, 0, 1]).unwrap_err(), FrameError::TooLarge);
    }

    #[test]
    fn padding_and_priority_are_stepped_over() {
        let Ok(Frame::Data { data, end }) = parse(kind::DATA, flag::PADDED | 1, 1, &[1, b'a', b'b', 0])
        else {
            panic!("no DATA");
        };
        assert_eq!((data, end), (&b"ab"[..], true));
        let all = flag::PADDED | flag::PRIORITY | flag::END_HEADERS;
        let Ok(Frame::Headers { block, end_stream, end_headers }) =
            parse(kind::HEADERS, all, 3, &[1, 0, 0, 0, 1, 9, 0x82, 0])
        else {
            panic!("no HEADERS");
        };
        assert_eq!((block, end_stream, end_headers), (&[0x82][..], false, true));
    }

    #[test]
    fn settings_that_are_not_known_are_left_out_and_impossible_ones_refused() {
        let bytes = [0, 1, 0, 0, 0, 9, 0, 99, 0, 0, 0, 1, 0, 8, 0, 0, 0, 1];
        let Ok(Frame::Settings(settings)) = parse(kind::SETTINGS, 0, 0, &bytes) else {
            panic!("no SETTINGS")
        };
        let settings: Vec<_> = settings.iter().map(Result::unwrap).collect();
        assert_eq!(settings, [Setting::HeaderTableSize(9), Setting::EnableConnectProtocol(true)]);
        for (id, value, code) in [
            (2, 2, ErrorCode::PROTOCOL_ERROR),
            (4, 1 << 31, ErrorCode::FLOW_CONTROL_ERROR),
            (5, 16_383, ErrorCode::PROTOCOL_ERROR),
            (5, 1 << 24, ErrorCode::PROTOCOL_ERROR),
            (8, 7, ErrorCode::PROTOCOL_ERROR),
        ] {
            let bytes = [&[0, id][..], &u32::to_be_bytes(value)].concat();
            let error = Settings(&bytes).iter().next().unwrap().unwrap_err();
            assert_eq!(error.code(), code, "{id}");
        }
    }
}

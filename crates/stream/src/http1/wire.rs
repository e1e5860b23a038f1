//! One connection's bytes with what is left over of them, both ways.

use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use mosn_codec::http1::{BodyDecoder, BodyError, Decoded, chunk_head, write_trailers};
use mosn_core::{Frame, Headers};
use mosn_net::{Io, scratch};

/// Bytes that may wait to be written before the sender is held back.
const HIGH_WATER: usize = 64 * 1024;
/// Bytes of body that are copied behind their head, so that both leave as one piece: below this the
/// system takes longer over two pieces than the copy does.
const COPIED: usize = 4 * 1024;

/// A connection with the bytes that were read too much and those that are yet to be written. Both
/// buffers are empty, and unallocated, while the connection idles.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) io: Io,
    input: BytesMut,
    output: BytesMut,
}

/// How a body reads and writes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Plain,
    Chunked,
}

impl Wire {
    pub(super) fn new(io: Io) -> Self {
        Self { io, input: BytesMut::new(), output: BytesMut::new() }
    }

    /// Bytes that were read and not used.
    pub(super) fn input(&self) -> &[u8] {
        &self.input
    }

    pub(super) fn take_input(&mut self) -> Bytes {
        std::mem::take(&mut self.input).freeze()
    }

    /// Ready when there is something to parse: left-over bytes, or a readable socket.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.input.is_empty() { self.io.poll_readable(cx) } else { Poll::Ready(()) }
    }

    /// Lets `parse` see everything that is there, left-over bytes first, and reads until it has
    /// made something of them. `parse` returns how many bytes it is done with, and perhaps a value.
    /// `Ok(None)` = the peer has ended.
    pub(super) fn poll_parse<T, E>(
        &mut self,
        cx: &mut Context<'_>,
        mut parse: impl FnMut(&[u8]) -> Result<(usize, Option<T>), E>,
    ) -> Poll<io::Result<Option<Result<T, E>>>> {
        if !self.input.is_empty() {
            match parse(&self.input) {
                Ok((used, value)) => {
                    self.consume(used);
                    if let Some(value) = value {
                        return Poll::Ready(Ok(Some(Ok(value))));
                    }
                }
                Err(error) => return Poll::Ready(Ok(Some(Err(error)))),
            }
        }
        loop {
            // Most messages arrive whole, in one read, and are parsed where they were read to.
            let step = scratch::with_read(|buffer| {
                let read = ready!(self.io.poll_read(cx, buffer))?;
                if read == 0 {
                    return Poll::Ready(Ok::<_, io::Error>(Some(None)));
                }
                let fresh = &buffer[..read];
                let parsed = if self.input.is_empty() {
                    let parsed = parse(fresh);
                    let used = parsed.as_ref().map_or(0, |(used, _)| *used);
                    self.input.extend_from_slice(&fresh[used..]);
                    parsed
                } else {
                    self.input.extend_from_slice(fresh);
                    let parsed = parse(&self.input);
                    self.consume(parsed.as_ref().map_or(0, |(used, _)| *used));
                    parsed
                };
                Poll::Ready(Ok(match parsed {
                    Ok((_, Some(value))) => Some(Some(Ok(value))),
                    Ok((_, None)) => None,
                    Err(error) => Some(Some(Err(error))),
                }))
            });
            if let Some(done) = ready!(step)? {
                return Poll::Ready(Ok(done));
            }
        }
    }

    fn consume(&mut self, used: usize) {
        self.input.advance(used);
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// Takes the next frame of a body that is already here, without reading.
    ///
    /// # Errors
    /// When the bytes break the body's framing.
    pub(super) fn take_frame(&mut self, decoder: &mut BodyDecoder) -> Result<Option<Frame>, BodyError> {
        if self.input.is_empty() && !decoder.is_done() {
            return Ok(None);
        }
        let input = std::mem::take(&mut self.input);
        let mut input = input.freeze();
        let decoded = frame_from(decoder, &input, |at, len| input.slice(at..at + len));
        let (used, frame) = decoded?;
        input.advance(used);
        if !input.is_empty() {
            self.input = input.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        }
        Ok(frame)
    }

    /// The next frame of a body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        decoder: &mut BodyDecoder,
    ) -> Poll<io::Result<Result<Frame, BodyError>>> {
        match self.take_frame(decoder) {
            Ok(None) => {}
            Ok(Some(frame)) => return Poll::Ready(Ok(Ok(frame))),
            Err(error) => return Poll::Ready(Ok(Err(error))),
        }
        let parsed = ready!(self.poll_parse(cx, |bytes| {
            frame_from(decoder, bytes, |at, len| Bytes::copy_from_slice(&bytes[at..at + len]))
        }))?;
        Poll::Ready(Ok(match parsed {
            Some(frame) => frame,
            None => decoder.eof().map(|()| Frame::END),
        }))
    }

    /// Reads ahead, up to `limit` bytes in all, only to learn whether the peer is still there:
    /// ready when it has ended or failed.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<()> {
        while self.input.len() < limit {
            let read = scratch::with_read(|buffer| {
                let room = buffer.len().min(limit - self.input.len());
                let read = ready!(self.io.poll_read(cx, &mut buffer[..room]));
                if let Ok(read) = read {
                    self.input.extend_from_slice(&buffer[..read]);
                }
                Poll::Ready(read)
            });
            match ready!(read) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Writes `slices` now, in one system call if the socket takes them; keeps what it does not.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, slices: &[&[u8]]) -> io::Result<()> {
        let mut written = 0;
        if self.output.is_empty() {
            let mut vectors = [IoSlice::new(&[]); 4];
            let mut count = 0;
            for slice in slices.iter().filter(|slice| !slice.is_empty()) {
                vectors[count] = IoSlice::new(slice);
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            match self.io.poll_write(cx, &vectors[..count]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(taken)) => written = taken,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {}
            }
        }
        for slice in slices {
            let skip = written.min(slice.len());
            written -= skip;
            self.output.extend_from_slice(&slice[skip..]);
        }
        Ok(())
    }

    /// Writes a head with the body's first frame behind it.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn write_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Vec<u8>,
        coding: Coding,
        first: Option<&Frame>,
    ) -> io::Result<()> {
        match first {
            None => self.write(cx, &[head]),
            Some(frame) => self.write_coded(cx, head, coding, frame),
        }
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn write_frame(
        &mut self,
        cx: &mut Context<'_>,
        coding: Coding,
        frame: &Frame,
    ) -> io::Result<()> {
        scratch::with_write(|before| self.write_coded(cx, before, coding, frame))
    }

    /// `before` goes out ahead of the frame.
    fn write_coded(
        &mut self,
        cx: &mut Context<'_>,
        before: &mut Vec<u8>,
        coding: Coding,
        frame: &Frame,
    ) -> io::Result<()> {
        match (coding, frame) {
            (Coding::Plain, Frame::Data { data, .. }) if data.len() <= COPIED => {
                before.extend_from_slice(data);
                self.write(cx, &[before])
            }
            (Coding::Plain, Frame::Data { data, .. }) => self.write(cx, &[before, data]),
            (Coding::Plain, Frame::Trailers(_)) => self.write(cx, &[before]),
            (Coding::Chunked, Frame::Data { data, end }) if data.is_empty() => {
                if *end {
                    write_trailers(before, None);
                }
                self.write(cx, &[before])
            }
            (Coding::Chunked, Frame::Data { data, end }) => {
                chunk_head(before, data.len());
                let after: &[u8] = if *end { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                self.write(cx, &[before, data, after])
            }
            (Coding::Chunked, Frame::Trailers(trailers)) => {
                write_trailers(before, Some(trailers));
                self.write(cx, &[before])
            }
        }
    }

    /// Ready when more may be written.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match self.poll_flushed(cx) {
            Poll::Pending if self.output.len() < HIGH_WATER => Poll::Ready(Ok(())),
            done => done,
        }
    }

    /// Ready when everything has been written.
    pub(super) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match ready!(self.io.poll_write(cx, &[IoSlice::new(&self.output)]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.output.advance(written),
            }
        }
        self.output = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }
}

/// The next frame in `input`: how many bytes it used, and `None` if there is none yet. Pieces of
/// several chunks become one frame; `slice` makes the bytes of a single piece.
pub(super) fn frame_from(
    decoder: &mut BodyDecoder,
    input: &[u8],
    slice: impl FnOnce(usize, usize) -> Bytes,
) -> Result<(usize, Option<Frame>), BodyError> {
    let mut at = 0;
    let mut first: Option<(usize, usize)> = None;
    let mut joined = BytesMut::new();
    let mut trailers: Option<Headers> = None;
    let mut end = decoder.is_done();
    while !end {
        let before = *decoder;
        let (used, decoded) = decoder.decode(&input[at..])?;
        match decoded {
            Decoded::NeedMore => {
                at += used;
                break;
            }
            Decoded::Data(start, len) => {
                let piece = (at + start, len);
                match first {
                    None => first = Some(piece),
                    Some((start, len)) => {
                        if joined.is_empty() {
                            joined.extend_from_slice(&input[start..start + len]);
                        }
                        joined.extend_from_slice(&input[piece.0..piece.0 + piece.1]);
                    }
                }
                end = decoder.is_done();
            }
            Decoded::End(found) => {
                // Trailers end the body by themselves, in a frame of their own: come back to them.
                if found.is_some() && first.is_some() {
                    *decoder = before;
                    break;
                }
                trailers = found;
                end = true;
            }
        }
        at += used;
    }
    let data = match first {
        _ if !joined.is_empty() => joined.freeze(),
        Some((start, len)) => slice(start, len),
        None => Bytes::new(),
    };
    let frame = match trailers {
        Some(trailers) if data.is_empty() => Some(Frame::Trailers(Box::new(trailers))),
        _ if data.is_empty() && !end => None,
        _ => Some(Frame::Data { data, end }),
    };
    Ok((at, frame))
}

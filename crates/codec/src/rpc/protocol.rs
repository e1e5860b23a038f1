//! What a protocol must be able to do for the proxy to carry it.

use std::{borrow::Cow, fmt::Debug, ops::ControlFlow};

use bytes::BytesMut;

use super::{
    Decoded, Detect, EncodeError, FrameKind, FrameView, HeaderError, Limits, Side, error::DecodeError,
    wire::put_at,
};

/// An RPC protocol: bytes in, frames out, without a socket, a clock or state of its own.
///
/// One implementation serves every connection of every worker. A connection drives it: `decode`
/// until it needs more, `append` each frame with the id of the connection it goes to, and write
/// once when the read's frames are used up. Whatever a frame's bytes are, no method panics.
///
/// Frames are handed around as the slice that `decode` measured together with its [`FrameView`];
/// a method given a view of other bytes does nothing useful and nothing harmful.
pub trait RpcProtocol: Debug + Send + Sync {
    /// The name in configuration, logs and metrics; case-sensitive.
    fn name(&self) -> &'static str;

    /// Whether a connection of this protocol takes frames of the one called `name`.
    fn carries(&self, name: &str) -> bool {
        name == self.name()
    }

    /// Whether a connection that begins with `prefix` speaks this protocol. Called anew with the
    /// whole prefix each time that more of it arrives.
    fn detect(&self, prefix: &[u8]) -> Detect;

    /// Looks at the start of `buf` for one frame.
    ///
    /// # Errors
    /// When the bytes cannot be a frame, whatever follows, or when the frame is larger than
    /// `limits` allow. Nothing was stored; the connection is beyond repair.
    fn decode(&self, buf: &[u8], from: Side, limits: &Limits) -> Result<Decoded, DecodeError>;

    /// How many bits of an id fit on the wire: 32 or 64.
    fn id_bits(&self) -> u32;

    /// The id after `previous` on one upstream connection: counts from 1, wraps at
    /// [`Self::id_bits`] and leaves out 0, which some peers take for a push.
    fn next_id(&self, previous: u64) -> u64 {
        let mask = u64::MAX.checked_shr(64_u32.saturating_sub(self.id_bits())).unwrap_or(u64::MAX);
        match previous.wrapping_add(1) & mask {
            0 => 1,
            id => id,
        }
    }

    /// Writes `id` over the frame's own, leaving its length as it is; `false`, and the frame is as
    /// it was, where that is impossible.
    #[must_use]
    fn patch_id(&self, frame: &mut [u8], view: &FrameView, id: u64) -> bool {
        let bytes = id.to_be_bytes();
        let width = (view.id_field.len as usize).min(bytes.len());
        put_at(frame, view.id_field.start as usize, &bytes[bytes.len() - width..])
    }

    /// Appends the frame to `out` under another id, everything else as it came.
    fn append(&self, frame: &[u8], view: &FrameView, id: u64, out: &mut BytesMut) {
        let at = out.len();
        out.extend_from_slice(frame);
        let _fits = self.patch_id(&mut out[at..], view, id);
    }

    /// Which fields routes and filters see on a listener of this name.
    fn header_scope(&self, listener: &str) -> HeaderScope {
        let _ = listener;
        HeaderScope::All
    }

    /// Shows the frame's header fields one by one until `visit` breaks. Where a name comes more
    /// than once, the first counts.
    ///
    /// # Errors
    /// When the fields cannot be read. Those before the fault have been shown.
    fn visit_headers<'a>(
        &self,
        frame: &'a [u8],
        view: &FrameView,
        scope: HeaderScope,
        visit: &mut Visit<'a, '_>,
    ) -> Result<(), HeaderError>;

    /// The value of one header field; names are case-sensitive.
    ///
    /// # Errors
    /// As for [`Self::visit_headers`], when the fault comes before the field.
    fn header<'a>(
        &self,
        frame: &'a [u8],
        view: &FrameView,
        scope: HeaderScope,
        name: &str,
    ) -> Result<Option<Cow<'a, [u8]>>, HeaderError> {
        let mut found = None;
        self.visit_headers(frame, view, scope, &mut |field, value| {
            if field == name.as_bytes() {
                found = Some(value);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Appends the frame with changes and under another id; what `edit` leaves alone keeps its
    /// bytes. Protocols whose header fields are only a view on the call (all but the bolt family)
    /// ignore changed headers.
    ///
    /// # Errors
    /// When the result would not fit the frame's length fields. `out` is as it was.
    fn rebuild(
        &self,
        frame: &[u8],
        view: &FrameView,
        edit: Edit<'_>,
        id: u64,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError>;

    /// What a local reply to this frame needs, to be kept while the frame itself is not; `None`
    /// unless the frame is a request that awaits a reply.
    fn reply_seed(&self, request: &[u8], view: &FrameView) -> Option<ReplySeed> {
        let _ = request;
        (view.kind == FrameKind::Request).then(|| ReplySeed::new(view.id))
    }

    /// Appends the proxy's own answer to a request: an error that the caller's library raises as
    /// one. `code` is an HTTP status or one of [`super::codes`]; `text`, where given, replaces the
    /// code's own words or becomes the content.
    fn local_reply(&self, seed: &ReplySeed, code: u16, text: Option<&[u8]>, out: &mut BytesMut);

    /// Appends a heartbeat; `false` if the protocol has none.
    fn heartbeat(&self, id: u64, out: &mut BytesMut) -> bool {
        let _ = (id, out);
        false
    }

    /// Whether the proxy sends heartbeats on an idle upstream connection unasked.
    fn beats_when_idle(&self) -> bool {
        false
    }

    /// Appends the answer to a [`FrameKind::Heartbeat`]; `false` if none is due.
    fn heartbeat_reply(&self, heartbeat: &[u8], view: &FrameView, out: &mut BytesMut) -> bool {
        let _ = (heartbeat, view, out);
        false
    }

    /// Appends the frame that asks a client to send no more on this connection; `false` if the
    /// protocol has none.
    fn goaway(&self, id: u64, out: &mut BytesMut) -> bool {
        let _ = (id, out);
        false
    }

    /// The HTTP status that logs, metrics and retry policies take a response's status for; `None`
    /// where MOSN leaves the status alone.
    fn http_status(&self, status: i32) -> Option<u16> {
        let _ = status;
        None
    }
}

/// Receives a header field's name and value. The bytes are the frame's own wherever the wire has
/// them in one piece.
pub type Visit<'a, 'v> = dyn FnMut(&[u8], Cow<'a, [u8]>) -> ControlFlow<()> + 'v;

/// How much of a frame its header view reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderScope {
    /// What names the call: cheap.
    Call,
    /// Also what lies behind the call's arguments (dubbo attachments).
    #[default]
    All,
}

/// Changes to a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edit<'a> {
    /// All header pairs of the new frame, in order.
    pub headers: Option<&'a [Pair<'a>]>,
    /// The new content.
    pub body: Option<&'a [u8]>,
}

/// A header field's name and value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// What a local reply needs of its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplySeed {
    /// The id that the caller gave its request.
    pub id: u64,
    /// What else the protocol must know, in its own terms: a version, a sequence number.
    pub form: u64,
    /// Names that the reply must repeat; most protocols need none.
    pub names: Option<Box<[u8]>>,
}

impl ReplySeed {
    /// A seed that knows only the id.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self { id, form: 0, names: None }
    }
}

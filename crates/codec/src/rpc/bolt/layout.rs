//! Where the fields of a bolt header are, for both versions of the protocol.

use super::Version;

/// A version's fixed header.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) version: Version,
    /// u8: 0 response, 1 request, 2 one-way.
    pub(super) kind_at: usize,
    /// u16: what the frame is for.
    pub(super) command_at: usize,
    /// u32.
    pub(super) id_at: u32,
    pub(super) request: Form,
    pub(super) response: Form,
}

/// What differs between requests and responses of one version.
#[derive(Debug)]
pub(super) struct Form {
    /// Bytes of the fixed header.
    pub(super) len: u32,
    /// Timeout (i32) of a request, status (u16) of a response.
    pub(super) verdict_at: usize,
    /// u16 class length, u16 header length, u32 content length, in a row.
    pub(super) lengths_at: usize,
}

pub(super) const KIND_RESPONSE: u8 = 0;
pub(super) const KIND_REQUEST: u8 = 1;
pub(super) const KIND_ONE_WAY: u8 = 2;

pub(super) const COMMAND_HEARTBEAT: u16 = 0;
pub(super) const COMMAND_RESPONSE: u16 = 2;
pub(super) const COMMAND_GOAWAY: u16 = 100;

/// `ver1` and `switch` of version 2: together they say whether a checksum follows the frame.
pub(super) const VER1_AT: usize = 1;
pub(super) const SWITCH_AT: usize = 11;
pub(super) const VER1_WITH_CHECKSUM: u8 = 2;
pub(super) const SWITCH_CHECKSUM: u8 = 1;
/// Bytes of the checksum.
pub(super) const CHECKSUM_LEN: u32 = 4;

pub(super) static V1: Layout = Layout {
    version: Version::V1,
    kind_at: 1,
    command_at: 2,
    id_at: 5,
    request: Form { len: 22, verdict_at: 10, lengths_at: 14 },
    response: Form { len: 20, verdict_at: 10, lengths_at: 12 },
};

pub(super) static V2: Layout = Layout {
    version: Version::V2,
    kind_at: 2,
    command_at: 3,
    id_at: 6,
    request: Form { len: 24, verdict_at: 12, lengths_at: 16 },
    response: Form { len: 22, verdict_at: 12, lengths_at: 14 },
};

impl Layout {
    /// The form of a frame by its kind byte; `None` if the protocol does not define the kind.
    pub(super) const fn form(&self, kind: u8) -> Option<&Form> {
        match kind {
            KIND_RESPONSE => Some(&self.response),
            KIND_REQUEST | KIND_ONE_WAY => Some(&self.request),
            _ => None,
        }
    }
}

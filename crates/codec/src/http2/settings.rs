use super::{ErrorCode, MAX_FRAME, MAX_WINDOW};

/// The parameters of a SETTINGS frame (RFC 9113 6.5.1), in the order they came.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a>(pub(super) &'a [u8]);

/// A parameter that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in RFC 9113 6.5.2 and RFC 8441 3")]
pub enum Setting {
    HeaderTableSize(u32),
    EnablePush(bool),
    MaxConcurrentStreams(u32),
    InitialWindowSize(u32),
    MaxFrameSize(u32),
    MaxHeaderListSize(u32),
    EnableConnectProtocol(bool),
}

/// A parameter with a value that it cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// A window above 2^31-1.
    Window,
    /// Any other.
    Value,
}

impl SettingsError {
    /// What to tell the peer.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Window => ErrorCode::FLOW_CONTROL_ERROR,
            Self::Value => ErrorCode::PROTOCOL_ERROR,
        }
    }
}

impl Setting {
    /// Identifier and value.
    pub(super) const fn wire(self) -> (u16, u32) {
        match self {
            Self::HeaderTableSize(size) => (1, size),
            Self::EnablePush(enabled) => (2, enabled as u32),
            Self::MaxConcurrentStreams(max) => (3, max),
            Self::InitialWindowSize(size) => (4, size),
            Self::MaxFrameSize(size) => (5, size),
            Self::MaxHeaderListSize(size) => (6, size),
            Self::EnableConnectProtocol(enabled) => (8, enabled as u32),
        }
    }

    fn read(id: u16, value: u32) -> Result<Option<Self>, SettingsError> {
        let switch = |value: u32| match value {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SettingsError::Value),
        };
        Ok(Some(match id {
            1 => Self::HeaderTableSize(value),
            2 => Self::EnablePush(switch(value)?),
            3 => Self::MaxConcurrentStreams(value),
            4 if value > MAX_WINDOW => return Err(SettingsError::Window),
            4 => Self::InitialWindowSize(value),
            5 if !(MAX_FRAME as u32..1 << 24).contains(&value) => return Err(SettingsError::Value),
            5 => Self::MaxFrameSize(value),
            6 => Self::MaxHeaderListSize(value),
            8 => Self::EnableConnectProtocol(switch(value)?),
            _ => return Ok(None),
        }))
    }
}

impl Settings<'_> {
    /// The parameters that are known.
    pub fn iter(&self) -> impl Iterator<Item = Result<Setting, SettingsError>> {
        self.0.as_chunks::<6>().0.iter().filter_map(|[a, b, c, d, e, f]| {
            Setting::read(u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f])).transpose()
        })
    }
}

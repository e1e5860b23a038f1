//! By the heartbeat of an RPC protocol.

use std::io;

use bytes::{Buf as _, BytesMut};
use mosn_codec::rpc::{self, Decoded, FrameKind, Limits, Side};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Connection, LONGEST};

pub(super) async fn ask(mut connection: Connection, protocol: &str) -> Result<(), String> {
    const ID: u64 = 1;
    let codec = rpc::by_name(protocol).ok_or_else(|| format!("there is no protocol {protocol}"))?;
    let lost = |error: io::Error| format!("connection lost: {error}");
    let mut buffer = BytesMut::new();
    if !codec.heartbeat(ID, &mut buffer) {
        return Err(format!("{protocol} has no heartbeats"));
    }
    connection.write_all(&buffer.split()).await.map_err(lost)?;
    let limits = Limits { max_frame_bytes: LONGEST as u32 };
    loop {
        match codec.decode(&buffer, Side::Upstream, &limits).map_err(|error| error.to_string())? {
            Decoded::Frame(view) => {
                let answers = matches!(view.kind, FrameKind::HeartbeatReply | FrameKind::Response);
                if answers && view.id == ID {
                    return Ok(());
                }
                buffer.advance((view.len as usize).min(buffer.len()));
            }
            Decoded::NeedMore { .. } => {
                if connection.read_buf(&mut buffer).await.map_err(lost)? == 0 {
                    return Err("closed without an answer".to_owned());
                }
            }
        }
    }
}

//! A downstream connection from its first byte: which protocol it is, and who serves it.

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Poll, ready},
};

use bytes::BytesMut;
use mosn_codec::detect::{Candidate, Detection, detect};
use mosn_config::model::DownstreamProtocols;
use mosn_core::{Failure, Protocol};
use mosn_net::{Io, scratch, timer::Timer};

use crate::{ServerContext, Service, http1, http2, rpc};

/// Serves a connection until it ends, in whichever of `protocols` it speaks.
pub async fn serve_connection<S: Service>(
    mut io: Io,
    protocols: &DownstreamProtocols,
    cx: Rc<ServerContext>,
    service: Rc<S>,
) {
    let protocol = match protocols {
        DownstreamProtocols::One(protocol) => Some(*protocol),
        // Boxed, so that a connection keeps no room for it afterwards.
        DownstreamProtocols::Detect(candidates) => match Box::pin(detected(&mut io, candidates, &cx)).await {
            Detected::Protocol(protocol) => Some(protocol),
            Detected::Unknown => None,
            Detected::Nothing => return,
        },
    };
    match protocol {
        Some(Protocol::Http1) => {
            if let Some((io, head)) = http1::serve(io, Rc::clone(&cx), Rc::clone(&service)).await {
                Box::pin(http2::serve(io, Some(head), cx, service)).await;
            }
        }
        Some(Protocol::Http2) => Box::pin(http2::serve(io, None, cx, service)).await,
        Some(Protocol::Rpc(name)) => match mosn_codec::rpc::by_name(name) {
            Some(protocol) => rpc::serve(io, protocol, cx, service).await,
            None => service.refused(&cx.info, Protocol::Rpc(name), Failure::NotImplemented),
        },
        None => service.refused(&cx.info, Protocol::Http1, Failure::BadRequest),
    }
}

enum Detected {
    Protocol(Protocol),
    /// What came is no protocol's beginning.
    Unknown,
    /// Nothing came: there was no request to refuse.
    Nothing,
}

/// Reads until the first bytes tell which protocol it is; they are given back.
async fn detected(io: &mut Io, candidates: &[Protocol], cx: &ServerContext) -> Detected {
    let candidates: Vec<Candidate> = candidates.iter().copied().filter_map(Candidate::of).collect();
    let watch = cx.drain.watch();
    let limits = [cx.idle_timeout, Some(cx.limits.header_timeout).filter(|limit| !limit.is_zero())];
    let limit = limits.into_iter().flatten().min();
    let mut timer = limit.map(Timer::after);
    let mut prefix = BytesMut::new();
    let protocol = poll_fn(|task| {
        loop {
            let read = scratch::with_read(|buffer| {
                let read = ready!(io.poll_read(task, buffer));
                if let Ok(read) = read {
                    prefix.extend_from_slice(&buffer[..read]);
                }
                Poll::Ready(read)
            });
            match read {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(None),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending if prefix.is_empty() && watch.poll(task).is_ready() => {
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    return timer.as_mut().map_or(Poll::Pending, |timer| timer.poll(task).map(|()| None));
                }
            }
            match detect(&candidates, &prefix) {
                Detection::Found(found) => return Poll::Ready(Some(found.protocol())),
                Detection::Unknown => {
                    tracing::error!(
                        alert = "mosn.proxy.codec_error",
                        "unknown protocol on {}",
                        cx.info.listener
                    );
                    return Poll::Ready(None);
                }
                Detection::NeedMore => {}
            }
        }
    })
    .await;
    let silent = prefix.is_empty();
    io.unread(prefix.freeze());
    match protocol {
        Some(protocol) => Detected::Protocol(protocol),
        None if silent => Detected::Nothing,
        None => Detected::Unknown,
    }
}

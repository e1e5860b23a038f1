use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::State,
    http::{Method, StatusCode},
    response::Response,
};
use hyper::body::Frame;

use super::{Parameters, SharedApi};
use crate::{context::Pieces, reply};

const PATH: &str = "/api/v1/clusters";

/// The hosts of all clusters, or of the one that `cluster` names.
pub(super) async fn clusters(State(api): SharedApi, method: Method, parameters: Parameters) -> Response {
    if let Some(refused) = reply::wrong_method(PATH, &method, &Method::GET) {
        return refused;
    }
    let only = match parameters.as_slice() {
        [] => None,
        [(name, value)] if name == "cluster" => Some(value.as_str()),
        _ => return reply::bad_request(PATH, "the only parameter is cluster=NAME"),
    };
    match (api.context.hosts)(only) {
        Some(pieces) => reply::ok(Body::new(Written { pieces, paused: true })),
        None => {
            let why = format!("there is no cluster {:?}", only.unwrap_or_default());
            reply::error(StatusCode::NOT_FOUND, PATH, &why, &why)
        }
    }
}

/// A body that is made while it is sent.
struct Written {
    pieces: Pieces,
    /// Whether others had their turn since the last piece: all requests share one thread.
    paused: bool,
}

impl HttpBody for Written {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.paused = !self.paused;
        if self.paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.pieces.next().map(|piece| Ok(Frame::data(piece.into()))))
    }
}

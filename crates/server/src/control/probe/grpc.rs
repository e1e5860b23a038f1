//! Over gRPC.

use std::{
    future::{Future as _, poll_fn},
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use mosn_config::model::GrpcProbeSpec;
use mosn_upstream::HostAddress;

use super::{Connection, LONGEST, authority};

/// gRPC's health protocol: a message of one string is sent, one of one number comes, 1 = serving.
pub(super) async fn ask(
    connection: Connection,
    host: &HostAddress,
    spec: &GrpcProbeSpec,
) -> Result<(), String> {
    let wrong = |error: h2::Error| format!("no gRPC answer: {error}");
    let (mut send, driver) = h2::client::handshake(connection).await.map_err(wrong)?;
    // Ends with this check, however it ends.
    let mut driver = Box::pin(driver);
    let answer = async move {
        let request = http::Request::post(format!(
            "http://{}/grpc.health.v1.Health/Check",
            authority(host, &spec.authority)
        ))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "mosn")
        .body(())
        .map_err(|error| error.to_string())?;
        poll_fn(|cx| send.poll_ready(cx)).await.map_err(wrong)?;
        let (reply, mut body) = send.send_request(request, false).map_err(wrong)?;
        body.send_data(health_request(&spec.service), true).map_err(wrong)?;
        let (head, mut body) = reply.await.map_err(wrong)?.into_parts();
        if head.status != 200 {
            return Err(format!("status {}", head.status.as_u16()));
        }
        let mut message = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(wrong)?;
            if message.len() + data.len() > LONGEST {
                return Err("an answer without end".to_owned());
            }
            // A window that cannot be given back shows in what follows.
            let _ = body.flow_control().release_capacity(data.len());
            message.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.map_err(wrong)?.unwrap_or_default();
        let status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
        match (status.map(http::HeaderValue::as_bytes), serving_status(&message)) {
            (Some(b"0"), Some(1)) => Ok(()),
            (Some(b"0"), Some(2)) => Err("NOT_SERVING".to_owned()),
            (Some(b"0"), _) => Err("no serving status".to_owned()),
            (Some(code), _) => Err(format!("gRPC status {}", String::from_utf8_lossy(code))),
            (None, _) => Err("no gRPC status".to_owned()),
        }
    };
    let mut answer = Box::pin(answer);
    poll_fn(|cx| {
        let ended = driver.as_mut().poll(cx);
        match answer.as_mut().poll(cx) {
            Poll::Pending if ended.is_ready() => Poll::Ready(Err("connection lost".to_owned())),
            answer => answer,
        }
    })
    .await
}

/// `HealthCheckRequest { service }` with gRPC's prefix.
fn health_request(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 8);
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// `status` of a `HealthCheckResponse` with gRPC's prefix.
fn serving_status(framed: &[u8]) -> Option<u8> {
    let [0, length @ .., _, _] = framed.first_chunk::<7>()? else { return None };
    let message = framed.get(5..)?;
    if message.len() != u32::from_be_bytes(*length) as usize {
        return None;
    }
    // All of its statuses fit one byte.
    match message {
        [0x08, status] if *status < 0x80 => Some(*status),
        _ => None,
    }
}

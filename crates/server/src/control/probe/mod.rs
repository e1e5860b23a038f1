//! Asking one host how it is.

mod grpc;
mod heartbeat;
mod http;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, pin::Pin};

use mosn_config::model::ProbeSpec;
use mosn_net::{ConnectOptions, connect_any, connect_tcp, connect_unix};
use mosn_upstream::HostAddress;
use tokio::io::{AsyncRead, AsyncWrite};

use super::names::KnownNames;

/// Bytes of an answer that are read at most.
const LONGEST: usize = 64 * 1024;

/// Ready when the host has answered, and why that is no good answer. How long it may take is for the
/// caller.
pub(super) async fn ask(host: &HostAddress, probe: &ProbeSpec, known: &KnownNames) -> Result<(), String> {
    match probe {
        ProbeSpec::Tcp => {
            let done = match host {
                HostAddress::Unix(path) => connect_unix(path).await.map(drop),
                _ => tcp(host, 0, known).await.map(drop),
            };
            done.map_err(|error| format!("cannot connect: {error}"))
        }
        ProbeSpec::Http(spec) => http::ask(host, spec, known).await,
        ProbeSpec::Grpc(spec) => grpc::ask(connect(host, spec.port, known).await?, host, spec).await,
        ProbeSpec::Heartbeat(protocol) => heartbeat::ask(connect(host, 0, known).await?, protocol).await,
    }
}

/// A connection of either kind.
trait Duplex: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> Duplex for T {}

type Connection = Pin<Box<dyn Duplex>>;

/// `port` is used instead of the host's own, unless it is 0.
async fn connect(host: &HostAddress, port: u16, known: &KnownNames) -> Result<Connection, String> {
    let connected: io::Result<Connection> = match host {
        HostAddress::Unix(path) => connect_unix(path).await.map(|stream| Box::pin(stream) as Connection),
        _ => tcp(host, port, known).await.map(|stream| Box::pin(stream) as Connection),
    };
    connected.map_err(|error| format!("cannot connect: {error}"))
}

async fn tcp(host: &HostAddress, port: u16, known: &KnownNames) -> io::Result<tokio::net::TcpStream> {
    let or_own = |own| if port == 0 { own } else { port };
    let options = ConnectOptions::default();
    match host {
        HostAddress::Ip(address) => {
            connect_tcp(SocketAddr::new(address.ip(), or_own(address.port())), options).await
        }
        HostAddress::Name { host, port } => {
            connect_any(&known.addresses(host, or_own(*port)).await?, options).await
        }
        HostAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// What HTTP asks for where nothing else is configured.
fn authority(host: &HostAddress, configured: &str) -> String {
    match host {
        _ if !configured.is_empty() => configured.to_owned(),
        HostAddress::Unix(_) => "localhost".to_owned(),
        _ => host.to_string(),
    }
}

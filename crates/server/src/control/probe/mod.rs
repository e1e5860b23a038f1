//! Asking one host how it is.

mod grpc;
mod heartbeat;
mod http;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, pin::Pin};

use mosn_config::model::{HealthCheckSpec, ProbeSpec};
use mosn_net::{ConnectOptions, connect_any, connect_tcp, connect_unix};
use mosn_upstream::HostAddress;
use tokio::io::{AsyncRead, AsyncWrite};

use super::names::KnownNames;

/// Bytes of an answer that are read at most.
const LONGEST: usize = 64 * 1024;

/// Ready when the host has answered, and why that is no good answer. How long it may take is for the
/// caller.
pub(super) async fn ask(host: &HostAddress, way: &HealthCheckSpec, known: &KnownNames) -> Result<(), String> {
    let asker = Asker { from: from(way), known };
    match &way.probe {
        ProbeSpec::Tcp => {
            let done = match host {
                HostAddress::Unix(path) => connect_unix(path).await.map(drop),
                _ => asker.tcp(host, 0).await.map(drop),
            };
            done.map_err(|error| format!("cannot connect: {error}"))
        }
        ProbeSpec::Http(spec) => http::ask(host, spec, &asker).await,
        ProbeSpec::Grpc(spec) => grpc::ask(asker.connect(host, spec.port).await?, host, spec).await,
        ProbeSpec::Heartbeat(protocol) => heartbeat::ask(asker.connect(host, 0).await?, protocol).await,
    }
}

/// A connection of either kind.
trait Duplex: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> Duplex for T {}

type Connection = Pin<Box<dyn Duplex>>;

/// Where checks come from: as the cluster's requests do.
pub(super) fn from(way: &HealthCheckSpec) -> ConnectOptions {
    ConnectOptions { mark: way.mark, bind: way.bind_address }
}

/// Connects to hosts.
struct Asker<'a> {
    from: ConnectOptions,
    known: &'a KnownNames,
}

impl Asker<'_> {
    /// `port` is used instead of the host's own, unless it is 0.
    async fn connect(&self, host: &HostAddress, port: u16) -> Result<Connection, String> {
        let connected: io::Result<Connection> = match host {
            HostAddress::Unix(path) => connect_unix(path).await.map(|stream| Box::pin(stream) as Connection),
            _ => self.tcp(host, port).await.map(|stream| Box::pin(stream) as Connection),
        };
        connected.map_err(|error| format!("cannot connect: {error}"))
    }

    async fn tcp(&self, host: &HostAddress, port: u16) -> io::Result<tokio::net::TcpStream> {
        let or_own = |own| if port == 0 { own } else { port };
        match host {
            HostAddress::Ip(address) => {
                connect_tcp(SocketAddr::new(address.ip(), or_own(address.port())), self.from).await
            }
            HostAddress::Name { host, port } => {
                connect_any(&self.known.addresses(host, or_own(*port)).await?, self.from).await
            }
            HostAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
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

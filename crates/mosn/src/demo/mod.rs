//! The quick-start: what `mosn` does when it is told nothing. Real listeners, real routes, and two
//! upstreams in this process that say what they were asked.

mod upstream;

use std::{io, net::TcpListener, process::ExitCode, time::Duration};

use mosn_admin::Features;
use mosn_config::{Format, Options};
use mosn_server::ProcessOptions;

use crate::{start, version};

const CONFIG: &str = include_str!("quick-start.json");

/// The quick-start's ports: these if they are free, or else any.
struct Ports {
    http: u16,
    gateway: u16,
    bolt: u16,
    dubbo: u16,
    /// The far ends of the two chains of proxies.
    bolt_server: u16,
    dubbo_server: u16,
    admin: u16,
}

impl Ports {
    fn find() -> io::Result<Self> {
        Ok(Self {
            http: free(2045)?,
            gateway: free(2046)?,
            bolt: free(2047)?,
            dubbo: free(2048)?,
            bolt_server: free(2049)?,
            dubbo_server: free(2050)?,
            admin: free(34901)?,
        })
    }
}

fn free(wanted: u16) -> io::Result<u16> {
    let listener =
        TcpListener::bind(("127.0.0.1", wanted)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?;
    Ok(listener.local_addr()?.port())
}

pub(crate) fn run() -> ExitCode {
    match prepare() {
        Ok((loaded, ports)) => {
            let options = ProcessOptions {
                drain_time: Duration::from_secs(10),
                interrupt_drains: true,
                version: version().into(),
                features: Features::default(),
                debug_api: false,
            };
            start::serve(loaded, &options, || print_table(&ports))
        }
        Err(error) => {
            eprintln!("mosn: the quick-start cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> Result<(mosn_config::Loaded, Ports), String> {
    let blue = upstream::start("blue").map_err(|error| error.to_string())?;
    let green = upstream::start("green").map_err(|error| error.to_string())?;
    let bolt = mosn_bench::echo("bolt").map_err(|error| error.to_string())?;
    let dubbo = mosn_bench::echo("dubbo").map_err(|error| error.to_string())?;
    let ports = Ports::find().map_err(|error| error.to_string())?;
    let config = CONFIG
        .replace("@HTTP@", &ports.http.to_string())
        .replace("@GATEWAY@", &ports.gateway.to_string())
        .replace("@ADMIN@", &ports.admin.to_string())
        .replace("@BLUE@", &blue.port().to_string())
        .replace("@GREEN@", &green.port().to_string())
        .replace("@BOLT@", &ports.bolt.to_string())
        .replace("@DUBBO@", &ports.dubbo.to_string())
        .replace("@BOLT_SERVER@", &ports.bolt_server.to_string())
        .replace("@DUBBO_SERVER@", &ports.dubbo_server.to_string())
        .replace("@BOLT_ECHO@", &bolt.port().to_string())
        .replace("@DUBBO_ECHO@", &dubbo.port().to_string());
    let base = std::env::temp_dir().join("mosn-quick-start/conf/quick-start.json");
    let loaded = mosn_config::parse(&config, Format::Json, &base, Options::default())
        .map_err(|problems| problems.to_string())?;
    Ok((loaded, ports))
}

fn print_table(Ports { http, gateway, bolt, dubbo, admin, .. }: &Ports) {
    println!(
        "\
mosn {version}: quick-start. Ctrl-C finishes what is under way and stops.

  http     http://127.0.0.1:{http:<6} HTTP/1.1 and HTTP/2 on one port, two upstreams, blue and green
  gateway  http://127.0.0.1:{gateway:<6} the same in front, HTTP/2 to the upstream
  bolt     127.0.0.1:{bolt:<13} SOFABolt, through a client-side and a server-side proxy to an echo server
  dubbo    127.0.0.1:{dubbo:<13} Dubbo, likewise
  admin    http://127.0.0.1:{admin:<6} statistics, configuration, log levels

Try:
  curl http://127.0.0.1:{http}/                             round robin over blue and green
  curl http://127.0.0.1:{http}/canary                       four times in five blue
  curl -i http://127.0.0.1:{http}/hello                     answered by the proxy itself
  curl -iL http://127.0.0.1:{http}/old                      a redirect
  curl -i http://127.0.0.1:{http}/down                      what clients see when an upstream is down
  curl --http2-prior-knowledge http://127.0.0.1:{http}/     HTTP/2 on the same port
  curl -d @/etc/hostname http://127.0.0.1:{gateway}/          HTTP/1.1 in, HTTP/2 out
  mosn bench load bolt --target 127.0.0.1:{bolt} --duration 2s   calls through both proxies, measured
  mosn bench load dubbo --target 127.0.0.1:{dubbo} --duration 2s
  curl http://127.0.0.1:{admin}/api/v1/stats               what was counted
  curl http://127.0.0.1:{admin}/metrics                    the same for Prometheus
  curl http://127.0.0.1:{admin}/api/v1/config_dump         the configuration, a good one to start from

Requests to `http` are logged here:",
        version = version()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_start_is_a_configuration_without_a_warning() {
        let (loaded, _) = prepare().unwrap();
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        assert_eq!((loaded.model.listeners.len(), loaded.model.clusters.len()), (6, 8));
    }
}

//! Writes a large configuration, to measure how long loading takes and what it costs:
//! `generate_large <clusters> <hosts> <virtual hosts> <routes> <out.json>`.

use std::fmt::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [clusters, hosts, virtual_hosts, routes, out] = arguments.as_slice() else {
        eprintln!("usage: generate_large <clusters> <hosts> <virtual hosts> <routes> <out.json>");
        return ExitCode::from(2);
    };
    let numbers: Result<Vec<usize>, _> =
        [clusters, hosts, virtual_hosts, routes].into_iter().map(|text| text.parse()).collect();
    let Ok(&[clusters, hosts, virtual_hosts, routes]) = numbers.as_deref() else {
        eprintln!("the first four arguments are numbers");
        return ExitCode::from(2);
    };
    let text = large(clusters, hosts, virtual_hosts, routes);
    if let Err(error) = std::fs::write(out, &text) {
        eprintln!("{out}: {error}");
        return ExitCode::FAILURE;
    }
    println!("{out}: {} bytes", text.len());
    ExitCode::SUCCESS
}

/// The text, in the shape that MOSN writes: indented by one space.
fn large(clusters: usize, hosts: usize, virtual_hosts: usize, routes: usize) -> String {
    let mut text = String::from(
        r#"{
 "servers": [
  {
   "default_log_path": "stdout",
   "default_log_level": "ERROR",
   "listeners": [
    {
     "name": "large",
     "address": "127.0.0.1:2045",
     "bind_port": true,
     "filter_chains": [{"filters": [{"type": "proxy", "config": {"downstream_protocol": "Http1", "router_config_name": "large"}}]}]
    }
   ],
   "routers": [
    {
     "router_config_name": "large",
     "virtual_hosts": ["#,
    );
    for host in 0..virtual_hosts {
        let comma = if host == 0 { "" } else { "," };
        let _ = write!(
            text,
            "{comma}\n      {{\n       \"name\": \"vhost-{host}\",\n       \"domains\": [\"service-{host}.example.com\"],\n       \"routers\": ["
        );
        for route in 0..routes {
            let comma = if route == 0 { "" } else { "," };
            let cluster = (host * routes + route) % clusters.max(1);
            let _ = write!(
                text,
                "{comma}\n        {{\n         \"match\": {{\"prefix\": \"/api/v{route}/resource\"}},\n         \"route\": {{\"cluster_name\": \"cluster-{cluster}\", \"timeout\": \"5s\"}}\n        }}"
            );
        }
        text.push_str("\n       ]\n      }");
    }
    text.push_str("\n     ]\n    }\n   ]\n  }\n ],\n \"cluster_manager\": {\n  \"clusters\": [");
    for cluster in 0..clusters {
        let comma = if cluster == 0 { "" } else { "," };
        let _ = write!(
            text,
            "{comma}\n   {{\n    \"name\": \"cluster-{cluster}\",\n    \"type\": \"SIMPLE\",\n    \"lb_type\": \"LB_ROUNDROBIN\",\n    \"max_request_per_conn\": 1024,\n    \"conn_buffer_limit_bytes\": 32768,\n    \"hosts\": ["
        );
        for host in 0..hosts {
            let comma = if host == 0 { "" } else { "," };
            let number = cluster * hosts + host;
            let _ = write!(
                text,
                "{comma}\n     {{\"address\": \"10.{}.{}.{}:8080\", \"weight\": 1}}",
                number >> 16 & 255,
                number >> 8 & 255,
                number & 255
            );
        }
        text.push_str("\n    ]\n   }");
    }
    text.push_str(
        "\n  ]\n },\n \"admin\": {\"address\": {\"socket_address\": {\"address\": \"127.0.0.1\", \"port_value\": 34901}}}\n}\n",
    );
    text
}

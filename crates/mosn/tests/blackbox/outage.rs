//! What clients see while one of several hosts is killed, frozen, slow, or comes back. The hosts are
//! processes of their own.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use mosn_tests::{Config, Listener, Mosn, Origin, Request, Signal, admin, direct, to, until};
use serde_json::{Value, json};

use crate::start;

/// Three hosts that say their number.
fn hosts() -> Vec<Mosn> {
    let host = |number: usize| {
        let listener = Listener::new("in", "Http1").routes([direct("/", &number.to_string())]);
        start(&Config::new().listener(listener))
    };
    (0..3).map(host).collect()
}

/// A proxy in front of them that tries again, and leaves hosts out.
fn proxy(hosts: &[Mosn], more: &Value) -> Mosn {
    let retries = json!({
        "timeout": "10s",
        "retry_policy": { "retry_on": true, "num_retries": 3, "retry_timeout": "200ms" },
    });
    let hosts: Vec<_> = hosts.iter().map(|host| host.address("in").to_string()).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    let listener = Listener::new("in", "Http1").routes([to("/", "up", &retries)]);
    start(&Config::new().listener(listener).cluster_with("up", &hosts, more).top("admin", admin()))
}

fn outliers() -> Value {
    json!({
        "outlier_detection": {
            "consecutive_5xx": 3,
            "consecutive_local_origin_failure": 3,
            "interval": "50ms",
            "base_ejection_time": "500ms",
            "max_ejection_time": "500ms",
            "max_ejection_percent": 50,
        },
    })
}

/// What became of requests.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
    failed: AtomicUsize,
    /// By host.
    by: [AtomicUsize; 3],
}

impl Load {
    /// Keeps four connections busy while `during` runs.
    fn while_running(mosn: &Mosn, during: impl FnOnce(&Self)) -> Self {
        let load = Self::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = mosn.client("in");
                    while !load.stop.load(Relaxed) {
                        let reply = client.ask(&Request::get("/"));
                        match reply.text().parse::<usize>() {
                            Ok(host) if reply.status == 200 => {
                                load.by[host].fetch_add(1, Relaxed);
                                load.answered.fetch_add(1, Relaxed);
                            }
                            _ => {
                                load.failed.fetch_add(1, Relaxed);
                            }
                        }
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            }
            // Also where it fails, or the threads would never end.
            let _stop = Stop(&load);
            during(&load);
        });
        load
    }

    fn answered(&self) -> usize {
        self.answered.load(Relaxed)
    }

    fn failed(&self) -> usize {
        self.failed.load(Relaxed)
    }

    /// Waits for so many more answers.
    #[track_caller]
    fn more(&self, count: usize) {
        let before = self.answered();
        until("more answers", || (self.answered() >= before + count).then_some(()));
    }
}

struct Stop<'a>(&'a Load);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Relaxed);
    }
}

#[test]
fn a_frozen_host_costs_no_request_once_it_is_found_and_serves_again_when_it_goes_on() {
    let hosts = hosts();
    let mosn = proxy(&hosts, &outliers());
    Load::while_running(&mosn, |load| {
        load.more(100);
        assert_eq!(load.failed(), 0);
        hosts[0].signal(Signal::STOP);
        until("detection", || (mosn.metric("outlier.cluster.up", "ejections_total")? > 0).then_some(()));
        let (answered, failed) = (load.answered(), load.failed());
        load.more(600);
        let (answered, failed) = (load.answered() - answered, load.failed() - failed);
        assert!(failed * 1000 < answered * 5, "{failed} of {answered} failed");
        hosts[0].signal(Signal::CONT);
        let before = load.by[0].load(Relaxed);
        until("it to serve again", || (load.by[0].load(Relaxed) > before + 20).then_some(()));
    });
}

#[test]
fn a_killed_host_costs_no_request() {
    let mut hosts = hosts();
    let mosn = proxy(&hosts, &outliers());
    let load = Load::while_running(&mosn, |load| {
        load.more(100);
        hosts[0].signal(Signal::KILL);
        hosts[0].exit_code();
        load.more(600);
    });
    assert_eq!(load.failed(), 0);
    assert!(load.by[0].load(Relaxed) > 0);
}

#[test]
fn a_frozen_host_fails_its_active_check_and_passes_when_it_goes_on() {
    let hosts = hosts();
    let check = json!({
        "health_check": {
            "protocol": "Http1",
            "service_name": "hosts",
            "interval": "50ms",
            "timeout": "500ms",
            "initial_delay_seconds": "1ms",
            "check_config": { "http_check_config": { "path": "/" } },
        },
    });
    let mosn = proxy(&hosts, &check);
    mosn.metric_is("healthcheck.service.hosts", "healty", 3);
    hosts[1].signal(Signal::STOP);
    mosn.metric_is("healthcheck.service.hosts", "healty", 2);
    let load = Load::while_running(&mosn, |load| load.more(200));
    assert_eq!((load.failed(), load.by[1].load(Relaxed)), (0, 0));
    hosts[1].signal(Signal::CONT);
    mosn.metric_is("healthcheck.service.hosts", "healty", 3);
    Load::while_running(&mosn, |load| {
        until("it to serve again", || (load.by[1].load(Relaxed) > 0).then_some(()));
    });
}

#[test]
fn a_slow_host_gets_less_from_balancers_that_look() {
    for lb_type in ["LB_LEAST_REQUEST", "LB_PEAK_EWMA"] {
        let slow = Origin::new(|exchange| {
            exchange.read()?;
            thread::sleep(Duration::from_millis(60));
            exchange.reply(200, &[], b"0")
        });
        let (one, two) = (Origin::saying("1"), Origin::saying("2"));
        let hosts = [slow.address(), one.address(), two.address()];
        let listener = Listener::new("in", "Http1").routes([to("/", "up", &json!({}))]);
        let more = json!({ "lb_type": lb_type });
        let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
        let mosn = start(&Config::new().listener(listener).cluster_with("up", &hosts, &more));
        let load = Load::while_running(&mosn, |load| load.more(400));
        let slow = load.by[0].load(Relaxed);
        assert!(slow * 5 < load.answered(), "{lb_type}: {slow} of {}", load.answered());
    }
}

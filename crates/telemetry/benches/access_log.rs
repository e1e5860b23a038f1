//! What one access-log line costs.

use std::{
    hint::black_box,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use criterion::{Criterion, criterion_group, criterion_main};
use mosn_config::model::{AccessLogSpec, LogOutput, ServerSpec};
use mosn_core::{ConnectionInfo, Protocol, RequestInfo};
use mosn_telemetry::{AccessLogFormat, Histogram, LogContext, LogHandle};

fn info() -> RequestInfo {
    let connection = ConnectionInfo {
        id: 1234,
        listener: "in".into(),
        listener_type: "ingress".into(),
        local: Some(([127, 0, 0, 1], 2045).into()),
        remote: Some(([10, 1, 2, 3], 51000).into()),
        redirected: None,
    };
    let mut info =
        RequestInfo::new(Rc::new(connection), Protocol::Http1, 5678, Instant::now(), SystemTime::now());
    info.request_received = Some(Duration::from_nanos(12_345));
    info.response_received = Some(Duration::from_nanos(2_512_345));
    info.finished = Some(Duration::from_nanos(2_534_567));
    info.bytes_received = 12;
    info.bytes_sent = 1024;
    info.response_code = 200;
    info.cluster = Some("c1".into());
    info.upstream_address = Some("10.9.8.7:8080".into());
    info.upstream_connection_id = Some(99);
    info
}

fn benches(c: &mut Criterion) {
    let mut info = info();
    let format = AccessLogFormat::default();
    let mut out = Vec::with_capacity(1024);
    c.bench_function("render the default line", |b| {
        b.iter(|| {
            out.clear();
            format.render(black_box(&LogContext::new(&info)), &mut out);
            black_box(&out);
        });
    });

    // With the buffer, the queue and the writer thread, to /dev/null; the clock moves on by 10 us a
    // line, so that the text of a second is made anew as it would be under load.
    let (handle, _error_log) = LogHandle::new(&ServerSpec::default()).expect("stderr can be opened");
    let spec = AccessLogSpec { output: LogOutput::File("/dev/null".into()), format: None };
    let writer = handle.access_log(&spec).expect("/dev/null can be opened").writer();
    c.bench_function("write the default line", |b| {
        b.iter(|| {
            info.start_wall += Duration::from_micros(10);
            writer.write(black_box(&LogContext::new(&info)));
        });
    });

    let histogram = Histogram::default();
    c.bench_function("record a duration", |b| b.iter(|| histogram.record(black_box(12_345))));
}

criterion_group!(all, benches);
criterion_main!(all);

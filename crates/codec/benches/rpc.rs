//! What a frame costs: `cargo bench -p mosn-codec --bench rpc`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot set up has nothing to measure")]

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mosn_codec::{
    detect::{Candidate, detect},
    hessian::write_string,
    rpc::{
        BOLT, BOLT_V2, DUBBO, DUBBO_THRIFT, Decoded, Edit, FrameView, Frames, HeaderScope, Limits,
        RpcProtocol, Side, TARS,
    },
};

/// A bolt request of this many bytes with the headers that SOFARPC sends.
fn bolt(len: usize) -> Vec<u8> {
    let empty = b"\x01\x01\0\x01\x01\0\0\0\x01\x01\0\0\x0b\xb8\0\0\0\0\0\0\0\0";
    let pairs: [(&[u8], &[u8]); 6] = [
        (b"sofa_head_target_app", b""),
        (b"rpc_trace_context.sofaRpcId", b"0"),
        (b"rpc_trace_context.sofaTraceId", b"0a0fe8ec1605000000000000112345"),
        (b"sofa_head_method_name", b"echoStr"),
        (b"sofa_head_target_service", b"com.example.EchoService:1.0"),
        (b"service", b"com.example.EchoService:1.0"),
    ];
    rebuild(&BOLT, empty, &pairs, len)
}

fn rebuild(protocol: &dyn RpcProtocol, frame: &[u8], pairs: &[(&[u8], &[u8])], len: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    protocol
        .rebuild(frame, &decode(protocol, frame), Edit { headers: Some(pairs), body: None }, 1, &mut out)
        .unwrap();
    let body = vec![b'b'; len - out.len()];
    let edit = Edit { headers: Some(pairs), body: Some(&body) };
    out.clear();
    protocol.rebuild(frame, &decode(protocol, frame), edit, 1, &mut out).unwrap();
    assert_eq!(out.len(), len);
    out.to_vec()
}

fn bolt_v2_with_checksum(len: usize) -> Vec<u8> {
    let empty = b"\x02\x02\x01\0\x01\x01\0\0\0\x01\x01\x01\0\0\x0b\xb8\0\0\0\0\0\0\0\0\0\0\0\0";
    rebuild(&BOLT_V2, empty, &[(b"service", b"com.example.EchoService:1.0")], len)
}

/// A dubbo call `hi(String, Map, Pojo)` of about 1 KiB, with the attachments of Dubbo 2.7.
fn dubbo() -> Vec<u8> {
    let mut body = BytesMut::new();
    let descriptor = "Ljava/lang/String;Ljava/util/Map;Lcom/example/Order;";
    for text in ["2.0.2", "com.example.EchoService", "1.0.0", "hi", descriptor] {
        write_string(text.as_bytes(), &mut body);
    }
    write_string("x".repeat(512).as_bytes(), &mut body);
    body.extend_from_slice(b"H");
    for key in 0..8 {
        write_string(format!("key-{key}").as_bytes(), &mut body);
        body.extend_from_slice(b"I\0\0\x01\0");
    }
    body.extend_from_slice(b"ZC\x11com.example.Order\x93\x02id\x04name\x04tags\x60L\0\0\0\0\0\0\0\x01");
    write_string(b"an order", &mut body);
    body.extend_from_slice(b"x");
    body.extend_from_slice(b"H");
    for (key, value) in [
        ("path", "com.example.EchoService"),
        ("remote.application", "consumer"),
        ("interface", "com.example.EchoService"),
        ("version", "1.0.0"),
        ("group", "blue"),
        ("timeout", "3000"),
    ] {
        write_string(key.as_bytes(), &mut body);
        write_string(value.as_bytes(), &mut body);
    }
    body.extend_from_slice(b"Z");
    let mut frame = b"\xda\xbb\xc2\0\0\0\0\0\0\0\0\x01".to_vec();
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

fn tars(len: usize) -> Vec<u8> {
    let empty =
        b"\0\0\0\x23\x10\x01\x2c\x3c\x40\x01\x56\x08A.B.CObj\x66\x02hi\x7d\0\x0c\x81\x0b\xb8\x98\x0c\xa8\x0c";
    let mut empty = empty.to_vec();
    empty[3] = empty.len() as u8;
    let body = vec![b'b'; len];
    let mut out = BytesMut::new();
    let edit = Edit { headers: None, body: Some(&body) };
    TARS.rebuild(&empty, &decode(&TARS, &empty), edit, 1, &mut out).unwrap();
    out.to_vec()
}

fn thrift(len: usize) -> Vec<u8> {
    let mut frame = b"\0\0\0\0\xda\xbc\0\0\0\0\0\x18\x01\0\0\0\x03a.B\0\0\0\0\0\0\0\x01\x80\x01\0\x01\0\0\0\x02hi\0\0\0\x07".to_vec();
    frame.resize(len, b'b');
    let announced = (len as u32 - 4).to_be_bytes();
    frame[..4].copy_from_slice(&announced);
    frame[6..10].copy_from_slice(&announced);
    frame
}

fn decode(protocol: &dyn RpcProtocol, frame: &[u8]) -> FrameView {
    match protocol.decode(frame, Side::Downstream, &Limits::default()) {
        Ok(Decoded::Frame(view)) => view,
        other => panic!("{other:?}"),
    }
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode_and_patch_1k");
    let all: [(&str, &'static dyn RpcProtocol, Vec<u8>); 6] = [
        ("bolt", &BOLT, bolt(1024)),
        ("boltv2_checksum", &BOLT_V2, bolt_v2_with_checksum(1024)),
        ("dubbo", &DUBBO, dubbo()),
        ("dubbo-thrift", &DUBBO_THRIFT, thrift(1024)),
        ("tars", &TARS, tars(1024)),
        ("bolt_64k", &BOLT, bolt(65536)),
    ];
    for (name, protocol, mut frame) in all.clone() {
        group.bench_function(name, |b| {
            // An id that fits one byte, so that tars can write it in place too.
            b.iter(|| {
                let view = decode(black_box(protocol), black_box(&frame));
                black_box(protocol.patch_id(&mut frame, &view, black_box(77)));
                view.len
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("batch_of_32_decode_and_append");
    for (name, protocol, frame) in all {
        let read = frame.repeat(32);
        let mut out = BytesMut::with_capacity(read.len() + 4096);
        group.throughput(Throughput::Elements(32));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let mut id = 0;
                let limits = Limits::default();
                for frame in Frames::new(black_box(protocol), black_box(&read), Side::Downstream, limits) {
                    let Ok((frame, view)) = frame else { return };
                    id = protocol.next_id(id);
                    protocol.append(frame, &view, id, &mut out);
                }
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    let dubbo = dubbo();
    type Case = (&'static str, &'static dyn RpcProtocol, Vec<u8>, HeaderScope, &'static str);
    let all: [Case; 6] = [
        ("bolt_service_sixth_of_six", &BOLT, bolt(1024), HeaderScope::All, "service"),
        ("dubbo_service", &DUBBO, dubbo.clone(), HeaderScope::Call, "service"),
        ("dubbo_method", &DUBBO, dubbo.clone(), HeaderScope::Call, "method"),
        ("dubbo_group_attachment", &DUBBO, dubbo, HeaderScope::All, "group"),
        ("dubbo-thrift_method", &DUBBO_THRIFT, thrift(1024), HeaderScope::All, "method"),
        ("tars_service", &TARS, tars(1024), HeaderScope::All, "service"),
    ];
    for (name, protocol, frame, scope, field) in all {
        let view = decode(protocol, &frame);
        assert!(protocol.header(&frame, &view, scope, field).unwrap().is_some(), "{name}");
        group.bench_function(name, |b| {
            b.iter(|| black_box(protocol).header(black_box(&frame), &view, scope, black_box(field)).is_ok());
        });
    }
    group.finish();
}

fn detection(c: &mut Criterion) {
    let all: Vec<_> = Candidate::all().collect();
    let packet = tars(1024);
    c.bench_function("detect/tars_last_of_seven", |b| b.iter(|| detect(black_box(&all), black_box(&packet))));
}

criterion_group!(benches, frames, headers, detection);
criterion_main!(benches);

//! What it costs to read and write HTTP/1 heads, and to find a chunked body's pieces.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use mosn_codec::http1::{
    BodyDecoder, Decoded, HeadLimits, Version, parse_request, parse_response, write_request_head,
    write_response_head,
};
use mosn_core::Scheme;

const LIMITS: HeadLimits = HeadLimits { bytes: 8192, fields: 100, uri: 8192 };

const REQUEST: &[u8] = b"GET /api/v1/items?page=2 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: bench/1\r\n\
Accept: application/json\r\nAccept-Encoding: gzip\r\nX-Request-Id: 0123456789abcdef\r\nCookie: session=abc\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\n\
Content-Type: application/json\r\nContent-Length: 1024\r\nConnection: keep-alive\r\n\r\n";

fn heads(c: &mut Criterion) {
    c.bench_function("http1 request head: read", |b| {
        b.iter(|| parse_request(black_box(REQUEST), Scheme::Http, &LIMITS));
    });
    c.bench_function("http1 response head: read", |b| {
        b.iter(|| parse_response(black_box(RESPONSE), &Method::GET, 65_536));
    });
    if let Ok(Some((head, _))) = parse_request(REQUEST, Scheme::Http, &LIMITS) {
        let mut out = Vec::with_capacity(1024);
        c.bench_function("http1 request head: write", |b| {
            b.iter(|| {
                out.clear();
                write_request_head(&mut out, black_box(&head))
            });
        });
    }
    if let Ok(Some((head, _))) = parse_response(RESPONSE, &Method::GET, 65_536) {
        let mut out = Vec::with_capacity(1024);
        c.bench_function("http1 response head: write", |b| {
            b.iter(|| {
                out.clear();
                let head = black_box(&head);
                write_response_head(&mut out, head, None, Version::Http11, &Method::GET, b"now", false)
            });
        });
    }
}

fn chunked(c: &mut Criterion) {
    let piece = [b"400\r\n".as_slice(), &[b'x'; 1024], b"\r\n"].concat();
    let body = [piece.repeat(16), b"0\r\n\r\n".to_vec()].concat();
    c.bench_function("http1 chunked body: 16 pieces of 1 KiB", |b| {
        b.iter(|| {
            let (mut decoder, mut at) = (BodyDecoder::chunked(), 0);
            while let Ok((used, decoded)) = decoder.decode(black_box(&body[at..])) {
                at += used;
                if matches!(decoded, Decoded::End(_) | Decoded::NeedMore) {
                    break;
                }
            }
            at
        });
    });
}

criterion_group!(benches, heads, chunked);
criterion_main!(benches);

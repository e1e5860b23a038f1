use mosn_core::{Headers, Protocol, ResponseFlags, Variable};

use super::LogContext;
use crate::{
    clock,
    fixture::{bare, info, request},
};

fn value(name: &str, cx: &LogContext<'_>) -> Option<String> {
    let variable = Variable::parse(name).unwrap_or_else(|| panic!("{name} is no variable"));
    let mut out = b"before".to_vec();
    let set = cx.write(&variable, &mut out);
    let text = String::from_utf8(out.split_off(6)).unwrap();
    assert!(set || text.is_empty(), "{name} is unset but left {text}");
    set.then_some(text)
}

#[test]
fn facts_of_the_request_read_as_mosn_prints_them() {
    let (info, request) = (info(Protocol::Http1), request("/a%20b?x=1", &[]));
    let cx = LogContext { request: Some(&request), ..LogContext::new(&info) };
    let start = clock::local(1_700_000_000).strftime("%Y/%m/%d %H:%M:%S.042").to_string();
    for (name, expected) in [
        ("start_time", &*start),
        ("request_received_duration", "1.234ms"),
        ("response_received_duration", "2.5ms"),
        ("request_finished_duration", "2.75ms"),
        ("process_time_duration", "1.484ms"),
        ("duration", "2.75ms"),
        ("bytes_received", "12"),
        ("bytes_sent", "1024"),
        ("protocol", "Http1"),
        ("downstream_protocol", "Http1"),
        ("upstream_protocol", "Http2"),
        ("response_code", "200"),
        ("response_flag", "false"),
        ("response_flags", "false"),
        ("upstream_transport_failure_reason", "0x0"),
        ("upstream_local_address", "10.9.8.7:8080"),
        ("downstream_local_address", "127.0.0.1:2045"),
        ("downstream_remote_address", "10.1.2.3:51000"),
        ("downstream_direct_remote_address", "10.1.2.3:51000"),
        ("upstream_host", "one.example"),
        ("upstream_cluster", "c1"),
        ("connection_id", "7"),
        ("upstream_connection_id", "9"),
        ("stream_id", "5"),
        ("upstream_tries", "3"),
        ("upstream_hedges", "1"),
        ("listener_name", "in"),
        ("listener_port", "2045"),
        ("listener_type", "ingress"),
        ("x-mosn-status", "200"),
        ("x-mosn-host", "a.example:81"),
        ("authority", "a.example:81"),
        ("x-mosn-method", "POST"),
        ("x-mosn-path", "/a b"),
        ("x-mosn-path-original", "/a%20b"),
        ("x-mosn-querystring", "x=1"),
        ("request_header_Host", "a.example:81"),
    ] {
        assert_eq!(value(name, &cx).as_deref(), Some(expected), "{name}");
    }
}

#[test]
fn what_is_not_known_is_unset_and_durations_are_zero() {
    let info = bare(Protocol::Http2);
    let cx = LogContext::new(&info);
    for name in [
        "upstream_protocol",
        "upstream_local_address",
        "downstream_local_address",
        "downstream_remote_address",
        "downstream_direct_remote_address",
        "upstream_host",
        "upstream_cluster",
        "upstream_connection_id",
        "listener_port",
        "trace_id",
        "x-mosn-host",
        "x-mosn-path",
        "request_header_a",
        "response_header_a",
        "request_arg_a",
        "cookie_a",
        "x-mosn-rpc-service",
        "proxy_global_timeout",
    ] {
        assert_eq!(value(name, &cx), None, "{name}");
    }
    assert_eq!(value("request_received_duration", &cx).as_deref(), Some("0s"));
    assert_eq!(value("response_flag", &cx).as_deref(), Some("true"));
    assert_eq!(value("upstream_transport_failure_reason", &cx).as_deref(), Some("0x2"));
    assert_eq!(value("listener_type", &cx).as_deref(), Some(""));
}

#[test]
fn all_flags_show_as_one_hexadecimal_number() {
    let mut info = bare(Protocol::Http1);
    info.flags = ResponseFlags::PROCESS_FAILED;
    let cx = LogContext::new(&info);
    assert_eq!(value("upstream_transport_failure_reason", &cx).as_deref(), Some("0x3d0a"));
}

#[test]
fn a_failure_shows_by_its_word_and_success_has_none() {
    let mut info = bare(Protocol::Http1);
    assert_eq!(value("response_code_details", &LogContext::new(&info)), None);
    info.details = "connect_failed";
    assert_eq!(value("response_code_details", &LogContext::new(&info)).as_deref(), Some("connect_failed"));
}

#[test]
fn a_hostname_that_is_empty_is_not_configured() {
    let mut info = info(Protocol::Http1);
    info.upstream_hostname = Some("".into());
    assert_eq!(value("upstream_host", &LogContext::new(&info)), None);
}

#[test]
fn headers_arguments_and_cookies_are_found_by_name() {
    let info = info(Protocol::Http1);
    let request = request("/p?a=1+2&b", &[("X-A", "one"), ("Cookie", "s=t; u=v"), ("X-Empty", "")]);
    let mut reply = Headers::default();
    assert!(reply.append("Server", b"x"));
    let cx = LogContext { request: Some(&request), response_headers: Some(&reply), ..LogContext::new(&info) };
    for (name, expected) in [
        ("request_header_x-a", Some("one")),
        ("request_header_x-empty", Some("")),
        ("request_header_missing", None),
        ("request_header_", None),
        ("response_header_server", Some("x")),
        ("response_header_x-a", None),
        ("request_arg_a", Some("1 2")),
        ("cookie_u", Some("v")),
        ("Http1_request_header_X-A", Some("one")),
        ("Http1_request_header_x-empty", None),
        ("Http1_request_arg_b", Some("")),
        ("Http1_cookie_s", Some("t")),
        ("Http1_request_scheme", Some("https")),
        ("Http1_request_method", Some("POST")),
        ("Http1_request_uri", Some("/p?a=1+2&b")),
        ("Http1_request_path", Some("/p")),
        ("Http1_request_path_original", Some("/p")),
        ("Http1_request_arg", Some("a=1+2&b")),
        ("Http2_request_header_x-a", None),
        ("Http2_cookie_s", None),
        ("Http2_request_scheme", None),
        ("x-mosn-scheme", None),
    ] {
        assert_eq!(value(name, &cx).as_deref(), expected, "{name}");
    }
}

#[test]
fn http2_names_hold_for_http2_only() {
    let info = info(Protocol::Http2);
    let request = request("/p", &[("x-a", "one"), ("cookie", "s=t"), ("cookie", "u=v")]);
    let cx = LogContext { request: Some(&request), ..LogContext::new(&info) };
    for (name, expected) in [
        ("Http2_request_header_x-a", Some("one")),
        ("Http2_cookie_u", Some("v")),
        ("Http2_request_scheme", Some("https")),
        ("x-mosn-scheme", Some("https")),
        ("x-mosn-querystring", None),
        ("Http1_request_method", None),
        ("Http1_request_header_x-a", None),
    ] {
        assert_eq!(value(name, &cx).as_deref(), expected, "{name}");
    }
}

#[test]
fn a_rewritten_path_shows_both_ways() {
    let (info, request) = (info(Protocol::Http1), request("/new?q", &[]));
    let cx = LogContext { request: Some(&request), original_path: Some(b"/old?q"), ..LogContext::new(&info) };
    assert_eq!(value("x-mosn-path", &cx).as_deref(), Some("/new"));
    assert_eq!(value("x-mosn-path-original", &cx).as_deref(), Some("/old"));
}

#[test]
fn the_length_of_an_http1_request_is_its_head_and_body() {
    let (info, request) = (info(Protocol::Http1), request("/p", &[("X-A", "one")]));
    let cx = LogContext { request: Some(&request), ..LogContext::new(&info) };
    let head = "POST /p HTTP/1.1\r\nHost: a.example:81\r\nX-A: one\r\n\r\n";
    assert_eq!(value("Http1_request_length", &cx), Some((head.len() + 12).to_string()));
}

#[test]
fn http1_requests_have_a_generated_trace_id_unless_a_span_has_one() {
    let mut info = info(Protocol::Http1);
    let generated = value("trace_id", &LogContext::new(&info)).unwrap();
    let (machine, rest) = generated.split_once("1700000000042").unwrap();
    assert!(machine == "00" || (machine.len() == 8 && u32::from_str_radix(machine, 16).is_ok()));
    let (digits, pid) = rest.split_at(4);
    assert!((1000..=9001).contains(&digits.parse::<u32>().unwrap()));
    assert_eq!(pid, std::process::id().to_string());
    assert_eq!(value("trace_id", &LogContext::new(&info)).unwrap(), generated);

    info.stream_id += 1;
    assert_ne!(value("trace_id", &LogContext::new(&info)).unwrap(), generated);

    let cx = LogContext { trace_id: Some(b"span"), ..LogContext::new(&info) };
    assert_eq!(value("trace_id", &cx).as_deref(), Some("span"));
}

#[test]
fn names_that_mosn_does_not_register_are_no_variables() {
    for name in [
        "",
        "nosuch",
        "requested_server_name",
        "route_name",
        "x-mosn-direction",
        "Http2_request_method",
        "Start_time",
        "header",
        "cookie",
        "request_headerx",
    ] {
        assert_eq!(Variable::parse(name), None, "{name}");
    }
}

#[test]
fn only_text_variables_may_become_header_values() {
    for (name, text) in
        [("connection_id", false), ("stream_id", false), ("x-mosn-path", true), ("trace_id", true)]
    {
        assert_eq!(Variable::parse(name).unwrap().is_text(), text, "{name}");
    }
}

//! The parser of HTTP/1 request heads against a slow one that says what the rules are.

use mosn_codec::http1::{HeadLimits, Version, parse_request};
use mosn_core::{BodyLength, Scheme};
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 100_000, fields: 200, uri: 10_000 };

/// What a head says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    method: String,
    authority: Vec<u8>,
    path: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: BodyLength,
    http10: bool,
    keep_alive: bool,
    upgrade: Option<Vec<u8>>,
    expects_continue: bool,
    consumed: usize,
}

#[derive(Debug)]
enum Verdict {
    Head(Box<Head>),
    Refused,
    /// There is no empty line: whether it is wrong already is for the parser to say.
    Unfinished,
}

type Field<'a> = (&'a [u8], &'a [u8]);

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// RFC 3986 3.2 without user information: a host, and perhaps a port of digits after a colon.
fn is_authority(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let after_literal = text.rsplit(']').next().unwrap_or("");
    if let Some((_, port)) = after_literal.split_once(':')
        && !port.chars().all(|digit| digit.is_ascii_digit())
    {
        return false;
    }
    bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]!$&'()*+,;=%".contains(b))
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of all fields of this name, taken as one list.
fn list(fields: &[Field<'_>], name: &str) -> Vec<Vec<u8>> {
    let values = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
    values
        .flat_map(|(_, value)| value.split(|b| *b == b','))
        .map(|element| element.trim_ascii().to_ascii_lowercase())
        .filter(|element| !element.is_empty())
        .collect()
}

fn values<'a>(fields: &[Field<'a>], name: &str) -> Vec<&'a [u8]> {
    fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| *v).collect()
}

fn reference(input: &[u8]) -> Verdict {
    // Lines end with LF, perhaps with a CR before it; empty ones before the request line are skipped.
    let mut lines = Vec::new();
    let mut at = 0;
    loop {
        let Some(length) = input[at..].iter().position(|b| *b == b'\n') else {
            return Verdict::Unfinished;
        };
        let line = &input[at..at + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += length + 1;
        match (line.is_empty(), lines.is_empty()) {
            (true, true) => {}
            (true, false) => break,
            (false, _) => lines.push(line),
        }
    }
    head(&lines, at).map_or(Verdict::Refused, |head| Verdict::Head(Box::new(head)))
}

fn head(lines: &[&[u8]], consumed: usize) -> Option<Head> {
    let parts: Vec<&[u8]> = lines[0].split(|b| *b == b' ').collect();
    let [method, target, version] = parts[..] else {
        return None;
    };
    let http10 = match version {
        b"HTTP/1.0" => true,
        b"HTTP/1.1" => false,
        _ => return None,
    };
    if !is_token(method) || target.is_empty() {
        return None;
    }
    let mut fields: Vec<Field<'_>> = Vec::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        let visible = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
        if !is_token(name) || !line[colon + 1..].iter().all(visible) {
            return None;
        }
        fields.push((name, value));
    }
    let host = match values(&fields, "host")[..] {
        [] if http10 => &b""[..],
        [host] if is_authority(host) => host,
        _ => return None,
    };
    let (authority, path) = target_parts(method, target, host)?;
    let body = body(&fields, http10)?;
    let connection = list(&fields, "connection");
    let says = |token: &str| connection.iter().any(|element| element == token.as_bytes());
    let protocol = values(&fields, "upgrade").last().map(|protocol| protocol.to_vec());
    let upgrade = protocol.filter(|protocol| {
        says("upgrade") && !http10 && body.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c")
    });
    let expects = values(&fields, "expect").last().is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"));
    let travelling = fields.iter().filter(|field| travels(field, &connection));
    Some(Head {
        method: String::from_utf8_lossy(method).into_owned(),
        authority,
        path,
        fields: travelling.map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        body,
        http10,
        keep_alive: if http10 { says("keep-alive") && !says("close") } else { !says("close") },
        upgrade,
        expects_continue: expects && !http10 && !body.is_empty(),
        consumed,
    })
}

/// RFC 9110 7.6.1: what ends with this connection stays behind.
fn travels((name, value): &Field<'_>, connection: &[Vec<u8>]) -> bool {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
        | "http2-settings" => false,
        "te" => {
            value.split(|b| *b == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        }
        "expect" => !value.eq_ignore_ascii_case(b"100-continue"),
        "host" | "content-length" | "content-type" | "content-encoding" => true,
        _ => !connection.iter().any(|element| element == name.as_bytes()),
    }
}

/// RFC 9112 6.3, without its leniencies.
fn body(fields: &[Field<'_>], http10: bool) -> Option<BodyLength> {
    let lengths = values(fields, "content-length");
    match (&values(fields, "transfer-encoding")[..], &lengths[..]) {
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") && !http10 => Some(BodyLength::Unknown),
        ([], []) => Some(BodyLength::Empty),
        ([], [length]) => {
            let digits = !length.is_empty() && length.len() < 20 && length.iter().all(u8::is_ascii_digit);
            let length: u64 = std::str::from_utf8(length).ok().filter(|_| digits)?.parse().ok()?;
            Some(if length == 0 { BodyLength::Empty } else { BodyLength::Known(length) })
        }
        _ => None,
    }
}

/// RFC 9112 3.2: (authority, path).
fn target_parts(method: &[u8], target: &[u8], host: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if !target.iter().all(|b| (0x21..0x7f).contains(b) && *b != b'#') {
        return None;
    }
    if method == b"CONNECT" {
        return (is_authority(target) && target.contains(&b':')).then(|| (target.to_vec(), Vec::new()));
    }
    if target[0] == b'/' || (target == b"*" && method == b"OPTIONS") {
        return Some((host.to_vec(), target.to_vec()));
    }
    let text = std::str::from_utf8(target).ok()?;
    let (scheme, rest) = text.split_once("://")?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if authority.is_empty() || !is_authority(authority.as_bytes()) {
        return None;
    }
    let path = match rest.chars().next() {
        Some('/') => rest.to_owned(),
        Some(_) => format!("/{rest}"),
        None if method == b"OPTIONS" => "*".to_owned(),
        None => "/".to_owned(),
    };
    Some((authority.as_bytes().to_vec(), path.into_bytes()))
}

fn parsed(input: &[u8]) -> Result<Option<Head>, String> {
    let parsed = parse_request(input, Scheme::Http, &LIMITS).map_err(|error| format!("{error:?}"))?;
    Ok(parsed.map(|(head, meta)| Head {
        method: head.method.to_string(),
        authority: head.authority.to_vec(),
        path: head.path.to_vec(),
        fields: head.headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        body: head.body,
        http10: meta.version == Version::Http10,
        keep_alive: meta.keep_alive,
        upgrade: head.upgrade.as_ref().map(|protocol| protocol.to_vec()),
        expects_continue: head.expects_continue,
        consumed: meta.consumed,
    }))
}

/// The two parsers agree.
fn agree(input: &[u8]) -> Result<(), TestCaseError> {
    let text = String::from_utf8_lossy(input);
    match (reference(input), parsed(input)) {
        (Verdict::Head(expected), Ok(Some(found))) => prop_assert_eq!(*expected, found, "{:?}", text),
        (Verdict::Refused, Err(_)) | (Verdict::Unfinished, Ok(None) | Err(_)) => {}
        (expected, found) => prop_assert!(false, "{text:?}: expected {expected:?}, found {found:?}"),
    }
    Ok(())
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let names = [
        "Host",
        "host",
        "Connection",
        "Content-Length",
        "Transfer-Encoding",
        "TE",
        "Upgrade",
        "Expect",
        "Keep-Alive",
        "Proxy-Connection",
        "HTTP2-Settings",
        "X-Any",
        "x-private",
        "Cookie",
        "Content-Type",
        "A",
    ];
    let values = [
        "a.com",
        "a:80",
        "",
        "close",
        "keep-alive",
        "upgrade",
        "Upgrade, HTTP2-Settings",
        "x-private",
        "close, x-any",
        "0",
        "5",
        "007",
        "18446744073709551615",
        "99999999999999999999",
        "5, 5",
        "+5",
        "chunked",
        "Chunked",
        "gzip, chunked",
        "identity",
        "trailers",
        "trailers, deflate",
        "websocket",
        "h2c",
        "100-continue",
        "b c",
        "\"q\"",
        "x\ty",
        "\u{e9}",
    ];
    prop::collection::vec(
        (prop::sample::select(names.to_vec()), prop::sample::select(values.to_vec()))
            .prop_map(|(name, value)| (name.to_owned(), value.to_owned())),
        0..6,
    )
}

/// Heads most of which are acceptable.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let methods = ["GET", "POST", "OPTIONS", "CONNECT", "HEAD", "M-SEARCH", "get"];
    let targets = [
        "/",
        "/a?b=c",
        "*",
        "//",
        "a.com:443",
        "http://b.com",
        "http://b.com?x",
        "HTTPS://b:1/y?z",
        "http:///x",
        "?q",
        "/%20|\\^",
        "ftp://x/",
        "http://u@h/",
        "/a#b",
    ];
    let ends = ["\r\n", "\r\n", "\r\n", "\n"];
    (
        prop::sample::select(methods.to_vec()),
        prop::sample::select(targets.to_vec()),
        prop::sample::select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0"]),
        prop::sample::select(ends.to_vec()),
        any::<bool>(),
        fields(),
        prop::sample::select(vec!["", " ", "\t ", " \t"]),
    )
        .prop_map(|(method, target, version, end, host, fields, blank)| {
            let mut head = format!("{method} {target} {version}{end}");
            if host && !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
                head += &format!("Host: a.com{end}");
            }
            for (name, value) in fields {
                head += &format!("{name}:{blank}{value}{blank}{end}");
            }
            (head + end + "rest").into_bytes()
        })
}

/// Replaces, inserts or removes a byte.
fn mutations() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    let bytes = b"\0\r\n\t :,/;#@ aZ0\x7f\x80\xff\x0b\x0c\"(".to_vec();
    prop::collection::vec((0..400_usize, 0..3_u8, prop::sample::select(bytes)), 1..4)
}

fn mutate(mut head: Vec<u8>, mutations: &[(usize, u8, u8)]) -> Vec<u8> {
    for &(at, how, byte) in mutations {
        let at = at % head.len();
        match how {
            0 => head[at] = byte,
            1 => head.insert(at, byte),
            _ => drop(head.remove(at)),
        }
    }
    head
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plausible_heads_are_read_as_the_rules_say(head in heads()) {
        agree(&head)?;
    }

    #[test]
    fn damaged_heads_are_refused_where_the_rules_say(head in heads(), mutations in mutations()) {
        agree(&mutate(head, &mutations))?;
    }

    #[test]
    fn a_head_that_is_cut_is_unfinished_and_nothing_else(head in heads(), at in 0..400_usize) {
        if let Verdict::Head(found) = reference(&head) {
            let cut = &head[..at % found.consumed];
            prop_assert_eq!(parsed(cut), Ok(None), "{:?}", String::from_utf8_lossy(cut));
        }
    }
}

#[test]
fn both_accept_and_refuse_often_enough_to_mean_something() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..1000 {
        let head = heads().new_tree(&mut runner).expect("a head").current();
        match reference(&head) {
            Verdict::Head(_) => accepted += 1,
            _ => refused += 1,
        }
    }
    assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
}

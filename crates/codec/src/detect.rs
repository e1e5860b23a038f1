//! Telling protocols apart by the first bytes of a connection.

use mosn_core::Protocol;

use crate::rpc::{self, RpcProtocol};

/// What the first bytes of a connection say about one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detect {
    /// They are this protocol's.
    Yes,
    /// They are not, whatever follows.
    No,
    /// There are too few to tell.
    NeedMore,
}

/// A protocol that a connection may turn out to speak.
#[derive(Clone, Copy, Debug)]
pub enum Candidate {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Any RPC protocol.
    Rpc(&'static dyn RpcProtocol),
}

/// What the first bytes of a connection say about all its candidates.
#[derive(Clone, Copy, Debug)]
pub enum Detection {
    /// The connection speaks this one.
    Found(Candidate),
    /// More bytes are needed.
    NeedMore,
    /// It speaks none of them.
    Unknown,
}

impl Candidate {
    /// Every built-in protocol, in the order in which `Auto` tries them.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Http1, Self::Http2].into_iter().chain(rpc::built_in().iter().copied().map(Self::Rpc))
    }

    /// The built-in protocol of this name; names are case-sensitive.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::all().find(|candidate| candidate.name() == name)
    }

    /// The built-in candidate that speaks `protocol`.
    #[must_use]
    pub fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Http1 => Some(Self::Http1),
            Protocol::Http2 => Some(Self::Http2),
            Protocol::Rpc(name) => rpc::by_name(name).map(Self::Rpc),
        }
    }

    /// The protocol it stands for.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Http1 => Protocol::Http1,
            Self::Http2 => Protocol::Http2,
            Self::Rpc(protocol) => Protocol::Rpc(protocol.name()),
        }
    }

    /// Its name in configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.protocol().name()
    }

    /// Whether a connection that begins with `prefix` speaks it.
    #[must_use]
    pub fn detect(self, prefix: &[u8]) -> Detect {
        match self {
            Self::Http1 => detect_http1(prefix),
            Self::Http2 => detect_http2(prefix),
            Self::Rpc(protocol) => protocol.detect(prefix),
        }
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Candidate {}

/// Which of the candidates a connection that begins with `prefix` speaks: the first that says yes.
/// Call it again with the whole prefix whenever more bytes arrive.
#[must_use]
pub fn detect(candidates: &[Candidate], prefix: &[u8]) -> Detection {
    let mut undecided = false;
    for &candidate in candidates {
        match candidate.detect(prefix) {
            Detect::Yes => return Detection::Found(candidate),
            Detect::NeedMore => undecided = true,
            Detect::No => {}
        }
    }
    if undecided { Detection::NeedMore } else { Detection::Unknown }
}

/// The methods that MOSN takes for HTTP/1, by their bytes alone: what follows is not looked at.
const METHODS: [&[u8]; 11] = [
    b"GET", b"PUT", b"POST", b"HEAD", b"LINK", b"TRACE", b"PATCH", b"DELETE", b"UNLINK", b"OPTIONS",
    b"CONNECT",
];
const SHORTEST_METHOD: usize = 3;
const LONGEST_METHOD: usize = 7;

/// What a client sends first on an HTTP/2 connection (RFC 9113 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn detect_http1(prefix: &[u8]) -> Detect {
    if prefix.len() < SHORTEST_METHOD {
        Detect::NeedMore
    } else if METHODS.iter().any(|method| prefix.starts_with(method)) {
        Detect::Yes
    } else if prefix.len() < LONGEST_METHOD {
        Detect::NeedMore
    } else {
        Detect::No
    }
}

fn detect_http2(prefix: &[u8]) -> Detect {
    let seen = prefix.len().min(PREFACE.len());
    match prefix[..seen] == PREFACE[..seen] {
        true if seen == PREFACE.len() => Detect::Yes,
        true => Detect::NeedMore,
        false => Detect::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For each protocol: what it says of the first 0, 1, 2, ... bytes, as runs of
    /// `.` (need more), `y` and `n`.
    fn verdicts(name: &str, bytes: &[u8]) -> String {
        let candidate = Candidate::by_name(name).unwrap();
        (0..=bytes.len())
            .map(|len| match candidate.detect(&bytes[..len]) {
                Detect::Yes => 'y',
                Detect::No => 'n',
                Detect::NeedMore => '.',
            })
            .collect()
    }

    fn auto(bytes: &[u8]) -> Option<&'static str> {
        let all: Vec<_> = Candidate::all().collect();
        match detect(&all, bytes) {
            Detection::Found(candidate) => Some(candidate.name()),
            Detection::NeedMore => None,
            Detection::Unknown => Some("unknown"),
        }
    }

    #[test]
    fn http1_waits_for_three_bytes_and_gives_up_after_seven() {
        assert_eq!(verdicts("Http1", b"GET /"), "...yyy");
        assert_eq!(verdicts("Http1", b"OPTIONS"), ".......y");
        assert_eq!(verdicts("Http1", b"UNLINK "), "......yy");
        assert_eq!(verdicts("Http1", b"PRI * HT"), ".......nn");
        // The method's own bytes decide; a longer word that starts with one is taken too.
        assert_eq!(verdicts("Http1", b"GETX"), "...yy");
        assert_eq!(verdicts("Http1", b"get / H"), ".......n");
    }

    #[test]
    fn http2_waits_for_the_whole_preface_and_gives_up_at_the_first_other_byte() {
        assert_eq!(verdicts("Http2", PREFACE), ".".repeat(24) + "y");
        assert_eq!(verdicts("Http2", b"PRI X"), ".....n");
        let mut longer = PREFACE.to_vec();
        longer.push(0);
        assert!(verdicts("Http2", &longer).ends_with("yy"));
    }

    #[test]
    fn bolt_decides_on_the_first_byte() {
        assert_eq!(verdicts("bolt", b"\x01\0"), ".yy");
        assert_eq!(verdicts("bolt", b"\x02\0"), ".nn");
        assert_eq!(verdicts("boltv2", b"\x02\0"), ".yy");
        assert_eq!(verdicts("boltv2", b"\x01\0"), ".nn");
    }

    #[test]
    fn dubbo_waits_for_a_whole_header_even_when_the_magic_is_wrong() {
        assert_eq!(verdicts("dubbo", b"\xda\xbb\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), ".".repeat(16) + "y");
        assert_eq!(verdicts("dubbo", &[b'z'; 17]), ".".repeat(16) + "nn");
    }

    #[test]
    fn dubbo_thrift_decides_on_the_bytes_behind_the_length() {
        assert_eq!(verdicts("dubbo-thrift", b"\0\0\0\x27\xda\xbc"), "......y");
        assert_eq!(verdicts("dubbo-thrift", b"\0\0\0\x27\xda\xbb\0"), "......nn");
    }

    #[test]
    fn tars_waits_for_the_whole_packet_once_its_head_matches() {
        assert_eq!(verdicts("tars", b"\0\0\0\x08\x10\x01\x2c\x3c\0"), "........yy");
        assert_eq!(verdicts("tars", b"\0\0\0\x08\x10\x03\x2c\x3c"), "........y");
        assert_eq!(verdicts("tars", b"\0\0\0\x08\x10\x02\x2c\x3c"), "......nnn");
        assert_eq!(verdicts("tars", b"\0\0\0\x03\x10\x01"), "......n");
        assert_eq!(verdicts("tars", b"\0\xa0\0\x00\x10\x01"), ".......");
        assert_eq!(verdicts("tars", b"\0\xa0\0\x01\x10\x01"), "......n");
    }

    #[test]
    fn auto_finds_each_protocol_byte_by_byte_and_never_another_on_the_way() {
        let dubbo = b"\xda\xbb\xc2\0\0\0\0\0\0\0\0\x01\0\0\0\x38";
        let tars = b"\0\0\0\x08\x10\x01\x2c\x3c";
        let streams: [(&str, &[u8]); 7] = [
            ("Http1", b"DELETE / HTTP/1.1"),
            ("Http2", PREFACE),
            ("bolt", b"\x01\x01\0\x01"),
            ("boltv2", b"\x02\x01\x01\0\x01"),
            ("dubbo", dubbo),
            ("dubbo-thrift", b"\0\0\0\x27\xda\xbc"),
            ("tars", tars),
        ];
        for (name, bytes) in streams {
            let found = (0..=bytes.len()).find_map(|len| auto(&bytes[..len]));
            assert_eq!(found, Some(name));
        }
    }

    #[test]
    fn auto_rejects_an_unknown_stream_after_sixteen_bytes() {
        assert_eq!(auto(&[b'z'; 15]), None);
        assert_eq!(auto(&[b'z'; 16]), Some("unknown"));
    }

    #[test]
    fn a_list_tries_only_its_own_in_its_own_order() {
        let list = ["boltv2", "Http1"].map(|name| Candidate::by_name(name).unwrap());
        assert!(matches!(detect(&list, b"\x01"), Detection::NeedMore));
        assert!(matches!(detect(&list, b"\x01234567"), Detection::Unknown));
        assert!(matches!(detect(&list[..1], b"\x01"), Detection::Unknown));
        assert!(matches!(detect(&list, b"\x02"), Detection::Found(found) if found == list[0]));
        assert!(matches!(detect(&[], b"\x02"), Detection::Unknown));
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        let names: Vec<_> = Candidate::all().map(Candidate::name).collect();
        assert_eq!(names, ["Http1", "Http2", "bolt", "boltv2", "dubbo", "dubbo-thrift", "tars"]);
        assert!(Candidate::by_name("http1").is_none());
    }
}

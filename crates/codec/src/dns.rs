//! DNS messages: what a stub resolver asks, and what it makes of the answer (RFC 1035, RFC 6891).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 addresses (A).
    V4,
    /// IPv6 addresses (AAAA).
    V6,
}

/// What a server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The addresses, in the server's order.
    pub addresses: Vec<IpAddr>,
    /// Seconds for which all of them hold; of no address, 0.
    pub ttl: u32,
    /// There is more than fits a datagram: ask over TCP.
    pub truncated: bool,
}

/// Why a message is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It belongs to another question, or is forged: wait on.
    #[error("an answer to another question")]
    NotOurs,
    /// It cannot be read.
    #[error("a malformed answer")]
    Malformed,
    /// The server's word for what is wrong.
    #[error("{}", code(*.0))]
    Code(u8),
}

/// Bytes of a datagram that every path carries (DNS flag day 2020).
const DATAGRAM: u16 = 1232;

const HEADER: usize = 12;
const INTERNET: u16 = 1;
const OPT: u16 = 41;

impl Family {
    const fn number(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }
}

fn code(code: u8) -> String {
    match code {
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("response code {other}"),
    }
}

/// The message that asks for the addresses of `name`, which is absolute with or without its last
/// dot; `None` if it cannot be a name.
#[must_use]
pub fn query(id: u16, name: &str, family: Family) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 2 + 4 + 11);
    message.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question; one additional record.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    put_name(&mut message, name)?;
    for field in [family.number(), INTERNET] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    message.push(0);
    for field in [OPT, DATAGRAM, 0, 0, 0] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    Some(message)
}

fn put_name(message: &mut Vec<u8>, name: &str) -> Option<()> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 {
        return None;
    }
    for label in name.split('.') {
        if !(1..=63).contains(&label.len()) {
            return None;
        }
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    Some(())
}

/// Reads the answer to [`query`].
///
/// # Errors
/// If it is none, or says that there is none.
pub fn answer(message: &[u8], id: u16, name: &str, family: Family) -> Result<Answer, AnswerError> {
    let mut read = Reader(message);
    let (theirs, flags) = (read.u16()?, read.u16()?);
    let counts = [read.u16()?, read.u16()?];
    read.skip(4)?;
    if theirs != id || flags & 0x8000 == 0 {
        return Err(AnswerError::NotOurs);
    }
    // A server that could not read the question need not repeat it.
    let code = (flags & 0xf) as u8;
    match counts[0] {
        1 => {
            let mut asked = Vec::new();
            put_name(&mut asked, name).ok_or(AnswerError::NotOurs)?;
            let question = read.take(asked.len())?;
            if !question.eq_ignore_ascii_case(&asked)
                || read.u16()? != family.number()
                || read.u16()? != INTERNET
            {
                return Err(AnswerError::NotOurs);
            }
        }
        0 if code != 0 => {}
        _ => return Err(AnswerError::NotOurs),
    }
    if code != 0 {
        return Err(AnswerError::Code(code));
    }
    let mut answer = Answer { truncated: flags & 0x0200 != 0, ..Answer::default() };
    for _ in 0..counts[1] {
        let record = match read.record() {
            Ok(record) => record,
            // What was cut off is asked for again.
            Err(_) if answer.truncated => break,
            Err(error) => return Err(error),
        };
        let address = match (family, record.data) {
            _ if record.kind != family.number() || record.class != INTERNET => continue,
            (Family::V4, data) => <[u8; 4]>::try_from(data).map(|data| IpAddr::from(Ipv4Addr::from(data))),
            (Family::V6, data) => <[u8; 16]>::try_from(data).map(|data| IpAddr::from(Ipv6Addr::from(data))),
        };
        let address = address.map_err(|_| AnswerError::Malformed)?;
        answer.ttl = if answer.addresses.is_empty() { record.ttl } else { answer.ttl.min(record.ttl) };
        if !answer.addresses.contains(&address) {
            answer.addresses.push(address);
        }
    }
    Ok(answer)
}

struct Record<'a> {
    kind: u16,
    class: u16,
    ttl: u32,
    data: &'a [u8],
}

/// The rest of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], AnswerError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(AnswerError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip(&mut self, length: usize) -> Result<(), AnswerError> {
        self.take(length).map(drop)
    }

    fn u16(&mut self) -> Result<u16, AnswerError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(AnswerError::Malformed)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// Passes over a name. A pointer ends it, and is not followed: whose record it is says the
    /// question.
    fn name(&mut self) -> Result<(), AnswerError> {
        loop {
            match self.take(1)?[0] {
                0 => return Ok(()),
                length @ 1..=63 => self.skip(length.into())?,
                0xc0.. => return self.skip(1),
                _ => return Err(AnswerError::Malformed),
            }
        }
    }

    fn record(&mut self) -> Result<Record<'a>, AnswerError> {
        self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let ttl = u32::from(self.u16()?) << 16 | u32::from(self.u16()?);
        let length = self.u16()?;
        // The top bit is not part of the number (RFC 2181 8).
        Ok(Record { kind, class, ttl: if ttl >> 31 == 1 { 0 } else { ttl }, data: self.take(length.into())? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to [`query`] with these records of type, TTL and data, each of a name by pointer.
    fn reply(query: &[u8], flags: u16, records: &[(u16, u32, &[u8])]) -> Vec<u8> {
        let question = &query[HEADER..query.len() - 11];
        let mut message = query[..2].to_vec();
        for field in [0x8180 | flags, 1, records.len() as u16, 0, 0] {
            message.extend_from_slice(&field.to_be_bytes());
        }
        message.extend_from_slice(question);
        for (kind, ttl, data) in records {
            message.extend_from_slice(&[0xc0, 12]);
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&INTERNET.to_be_bytes());
            message.extend_from_slice(&ttl.to_be_bytes());
            message.extend_from_slice(&(data.len() as u16).to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    #[test]
    fn a_query_is_what_the_standards_say() {
        let message = query(0x1234, "a.bc", Family::V6).unwrap();
        let expected =
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x01a\x02bc\0\0\x1c\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";
        assert_eq!(message, expected);
        assert_eq!(query(0x1234, "a.bc.", Family::V6), Some(message));
        let long = ["a"; 130].join(".");
        for name in ["", ".", "a..b", &"a".repeat(64), &long] {
            assert_eq!(query(1, name, Family::V4), None, "{name}");
        }
    }

    #[test]
    fn addresses_of_the_family_come_with_the_least_ttl() {
        let asked = query(7, "A.b", Family::V4).unwrap();
        let alias: (u16, u32, &[u8]) = (5, 1, b"\x01x\xc0\x0c");
        let message = reply(
            &asked,
            0,
            &[alias, (1, 60, &[10, 0, 0, 1]), (1, 30, &[10, 0, 0, 2]), (1, 90, &[10, 0, 0, 1])],
        );
        let found = answer(&message, 7, "a.b.", Family::V4).unwrap();
        assert_eq!(found.addresses, [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])]);
        assert_eq!((found.ttl, found.truncated), (30, false));
        let asked = query(7, "a.b", Family::V6).unwrap();
        let message = reply(&asked, 0x200, &[(28, u32::MAX, &[0; 16])]);
        let found = answer(&message, 7, "a.b", Family::V6).unwrap();
        assert_eq!((found.addresses.len(), found.ttl, found.truncated), (1, 0, true));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let asked = query(7, "a.b", Family::V4).unwrap();
        let message = reply(&asked, 3, &[]);
        assert_eq!(answer(&message, 7, "a.b", Family::V4), Err(AnswerError::Code(3)));
        assert_eq!(answer(&message, 8, "a.b", Family::V4), Err(AnswerError::NotOurs));
        assert_eq!(answer(&message, 7, "a.c", Family::V4), Err(AnswerError::NotOurs));
        assert_eq!(answer(&message, 7, "a.b", Family::V6), Err(AnswerError::NotOurs));
        assert_eq!(answer(&asked, 7, "a.b", Family::V4), Err(AnswerError::NotOurs));
        let short = reply(&asked, 0, &[(1, 1, &[10, 0, 0])]);
        assert_eq!(answer(&short, 7, "a.b", Family::V4), Err(AnswerError::Malformed));
        let whole = reply(&asked, 0, &[(1, 1, &[10, 0, 0, 1])]);
        for end in 0..whole.len() {
            assert!(answer(&whole[..end], 7, "a.b", Family::V4).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..40_usize) {
            let _ = answer(&bytes, 7, "a.b", Family::V4);
            let asked = query(7, "a.b", Family::V4).unwrap();
            let mut message = reply(&asked, 0, &[(1, 1, &[10, 0, 0, 1]), (1, 1, &[10, 0, 0, 1])]);
            for (byte, new) in message.iter_mut().skip(at).zip(bytes) {
                *byte = new;
            }
            let _ = answer(&message, 7, "a.b", Family::V4);
        }
    }
}

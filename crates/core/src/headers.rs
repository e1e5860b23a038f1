//! Header fields behind one small view: get, iterate, set, append, remove.

use std::{any::Any, fmt, rc::Rc};

use bytes::Bytes;

/// Header fields of one message, forwarded from the block of bytes that they arrived in, in its case
/// and order.
///
/// Names compare without regard to ASCII case, but for those of an RPC frame.
#[derive(Clone, Debug)]
pub enum Headers {
    /// Fields in wire order and case.
    List(FieldList),
    /// The fields of an RPC frame, and the frame.
    Frame(Box<FrameHeaders>),
}

/// What the header view of an RPC frame shows, and the frame itself, so that it can leave as the
/// bytes that arrived. Names are compared byte by byte.
#[derive(Clone)]
pub struct FrameHeaders {
    fields: FieldList,
    frame: Rc<dyn Any>,
    changed: bool,
}

impl FrameHeaders {
    /// The fields of `frame`, which only the stream layer looks into.
    #[must_use]
    pub fn new(fields: FieldList, frame: Rc<dyn Any>) -> Self {
        Self { fields, frame, changed: false }
    }

    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &Rc<dyn Any> {
        &self.frame
    }

    /// Whether the fields are no longer the frame's own.
    #[must_use]
    pub const fn is_changed(&self) -> bool {
        self.changed
    }

    /// Every field as (name, value), in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.pairs()
    }

    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields.pairs().find(|&(field, _)| field == name).map(|(_, value)| value)
    }

    fn remove(&mut self, name: &[u8]) -> bool {
        let removed = self.fields.retain(|field| field != name);
        self.changed |= removed;
        removed
    }

    fn append(&mut self, name: &[u8], value: &[u8]) {
        self.fields.append(name, value);
        self.changed = true;
    }
}

impl fmt::Debug for FrameHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameHeaders")
            .field("fields", &self.fields)
            .field("changed", &self.changed)
            .finish_non_exhaustive()
    }
}

/// Fields as ranges into the block of bytes they arrived in; fields added later live in a tail.
#[derive(Clone, Debug, Default)]
pub struct FieldList {
    block: Bytes,
    tail: Vec<u8>,
    fields: Vec<Field>,
}

/// Offsets below `block.len()` are into the block, the rest into the tail.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
    sensitive: bool,
}

/// Where fields will lie in a block that is still being put together.
#[derive(Clone, Debug, Default)]
pub struct FieldRanges {
    fields: Vec<Field>,
    /// Where the furthest one ends.
    end: usize,
}

impl FieldRanges {
    /// None yet, with room for `capacity`.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { fields: Vec::with_capacity(capacity), end: 0 }
    }

    /// Adds the field whose name and value will be these ranges (start, length). A `sensitive` one
    /// must not be compressed with others (RFC 7541 7.1.3).
    pub fn push(&mut self, name: (usize, usize), value: (usize, usize), sensitive: bool) {
        self.end = self.end.max(name.0 + name.1).max(value.0 + value.1);
        self.fields.push(Field {
            name: name.0 as u32,
            name_len: name.1 as u32,
            value: value.0 as u32,
            value_len: value.1 as u32,
            sensitive,
        });
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Removes those whose name and value, as ranges (start, length), `keep` does not keep.
    pub fn retain(&mut self, mut keep: impl FnMut((usize, usize), (usize, usize)) -> bool) {
        self.fields.retain(|field| {
            keep(
                (field.name as usize, field.name_len as usize),
                (field.value as usize, field.value_len as usize),
            )
        });
    }
}

impl FieldList {
    /// An empty list over `block`, with room for `capacity` fields.
    #[must_use]
    pub fn with_block(block: Bytes, capacity: usize) -> Self {
        Self { block, tail: Vec::new(), fields: Vec::with_capacity(capacity) }
    }

    /// The fields that lie in `block` at these places.
    ///
    /// # Panics
    /// If a range lies outside the block: whoever noted it made the block.
    #[must_use]
    pub fn new(block: Bytes, ranges: FieldRanges) -> Self {
        assert!(ranges.end <= block.len());
        Self { block, tail: Vec::new(), fields: ranges.fields }
    }

    /// Adds the field whose name and value are these ranges (start, length) of the block.
    ///
    /// # Panics
    /// If a range lies outside the block: the parser that calls this made the block.
    pub fn push_range(&mut self, name: (usize, usize), value: (usize, usize)) {
        assert!(name.0 + name.1 <= self.block.len() && value.0 + value.1 <= self.block.len());
        self.fields.push(Field {
            name: name.0 as u32,
            name_len: name.1 as u32,
            value: value.0 as u32,
            value_len: value.1 as u32,
            sensitive: false,
        });
    }

    /// Adds a field at the end.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        let name_at = self.block.len() + self.tail.len();
        self.tail.extend_from_slice(name);
        let value_at = self.block.len() + self.tail.len();
        self.tail.extend_from_slice(value);
        self.fields.push(Field {
            name: name_at as u32,
            name_len: name.len() as u32,
            value: value_at as u32,
            value_len: value.len() as u32,
            sensitive: false,
        });
    }

    /// Appends the fields that `keep` keeps as HTTP/1 has them, `name: value` and CRLF each. Fields
    /// that stand in the block in just that form, one behind the other, are copied as one piece.
    pub fn write_http1(&self, out: &mut Vec<u8>, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let mut run = 0..0;
        for field in &self.fields {
            let (name, value) = (self.name(field), self.value(field));
            if !keep(name, value) {
                continue;
            }
            let start = field.name as usize;
            let end = (field.value + field.value_len) as usize + 2;
            let plain = field.name + field.name_len + 2 == field.value
                && end <= self.block.len()
                && &self.block[start + name.len()..field.value as usize] == b": "
                && &self.block[end - 2..end] == b"\r\n";
            if plain && start == run.end && !run.is_empty() {
                run.end = end;
                continue;
            }
            out.extend_from_slice(&self.block[run]);
            run = 0..0;
            if plain {
                run = start..end;
            } else {
                for part in [name, b": ", value, b"\r\n"] {
                    out.extend_from_slice(part);
                }
            }
        }
        out.extend_from_slice(&self.block[run]);
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn slice(&self, at: u32, len: u32) -> &[u8] {
        let (at, len) = (at as usize, len as usize);
        match at.checked_sub(self.block.len()) {
            None => &self.block[at..at + len],
            Some(at) => &self.tail[at..at + len],
        }
    }

    fn name(&self, field: &Field) -> &[u8] {
        self.slice(field.name, field.name_len)
    }

    fn value(&self, field: &Field) -> &[u8] {
        self.slice(field.value, field.value_len)
    }

    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.name(field), self.value(field)))
    }

    fn remove(&mut self, name: &[u8]) -> bool {
        self.retain(|field| !field.eq_ignore_ascii_case(name))
    }

    /// Keeps the fields whose names pass; whether any went.
    fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) -> bool {
        let before = self.fields.len();
        let mut fields = std::mem::take(&mut self.fields);
        fields.retain(|field| keep(self.name(field)));
        self.fields = fields;
        self.fields.len() != before
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::List(FieldList::default())
    }
}

impl Headers {
    fn list(&self) -> &FieldList {
        match self {
            Self::List(list) => list,
            Self::Frame(frame) => &frame.fields,
        }
    }

    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        match self {
            Self::List(list) => list
                .fields
                .iter()
                .find(|field| {
                    field.name_len as usize == name.len()
                        && list.name(field).eq_ignore_ascii_case(name.as_bytes())
                })
                .map(|field| list.value(field)),
            Self::Frame(frame) => frame.get(name.as_bytes()),
        }
    }

    /// Whether `name` is present.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Every value of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Every field as (name, value), in order.
    #[must_use]
    pub fn iter(&self) -> HeadersIter<'_> {
        let list = self.list();
        HeadersIter(list, list.fields.iter())
    }

    /// Calls `each` with every field's name and value, in order, and whether it is sensitive: not
    /// to be compressed with others (RFC 7541 7.1.3).
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8], bool)) {
        let list = self.list();
        for field in &list.fields {
            each(list.name(field), list.value(field), field.sensitive);
        }
    }

    /// Appends the fields that `keep` keeps as HTTP/1 has them, `name: value` and CRLF each.
    pub fn write_http1(&self, out: &mut Vec<u8>, keep: impl FnMut(&[u8], &[u8]) -> bool) {
        self.list().write_http1(out, keep);
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces every value of `name` by `value`. A name or value that is not valid in a header
    /// field leaves the header as it was and returns `false`.
    pub fn set(&mut self, name: &str, value: &[u8]) -> bool {
        if !valid_field(name.as_bytes(), value) {
            return false;
        }
        match self {
            Self::List(list) => {
                list.remove(name.as_bytes());
                list.append(name.as_bytes(), value);
                true
            }
            Self::Frame(frame) => {
                frame.remove(name.as_bytes());
                frame.append(name.as_bytes(), value);
                true
            }
        }
    }

    /// Adds a field beside those already there; `false` as for [`Self::set`].
    pub fn append(&mut self, name: &str, value: &[u8]) -> bool {
        if !valid_field(name.as_bytes(), value) {
            return false;
        }
        match self {
            Self::List(list) => {
                list.append(name.as_bytes(), value);
                true
            }
            Self::Frame(frame) => {
                frame.append(name.as_bytes(), value);
                true
            }
        }
    }

    /// Removes every field called `name`; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        match self {
            Self::List(list) => list.remove(name.as_bytes()),
            Self::Frame(frame) => frame.remove(name.as_bytes()),
        }
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

/// Iterator over (name, value).
#[derive(Debug)]
pub struct HeadersIter<'a>(&'a FieldList, std::slice::Iter<'a, Field>);

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.1.next().map(|field| (self.0.name(field), self.0.value(field)))
    }
}

/// RFC 9110 5.1 and 5.5: the name is a token, the value has no control characters but tab.
fn valid_field(name: &[u8], value: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty()
        && name.iter().all(token)
        && value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Headers {
        let block = Bytes::from_static(b"Host: a\r\nX-One: 1\r\nx-one: 2\r\n");
        let mut list = FieldList::with_block(block, 3);
        list.push_range((0, 4), (6, 1));
        list.push_range((9, 5), (16, 1));
        list.push_range((19, 5), (26, 1));
        Headers::List(list)
    }

    #[test]
    fn names_compare_without_case_and_order_is_kept() {
        let headers = list();
        assert_eq!(headers.get("host"), Some(&b"a"[..]));
        assert_eq!(headers.get_all("X-ONE").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(
            headers.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            [&b"Host"[..], b"X-One", b"x-one"]
        );
    }

    #[test]
    fn fields_are_written_the_same_whether_they_stand_together_or_not() {
        let block = Bytes::from_static(b"Host: a\r\nX-One: 1\r\nx-two:2\r\nx-three: 3\r\nX-Last: 4 \r\n");
        let mut list = FieldList::with_block(block, 5);
        for (name, value) in
            [((0, 4), (6, 1)), ((9, 5), (16, 1)), ((19, 5), (25, 1)), ((28, 7), (37, 1)), ((40, 6), (48, 1))]
        {
            list.push_range(name, value);
        }
        list.append(b"x-new", b"5");
        let mut headers = Headers::List(list);
        let written = |headers: &Headers, keep: &dyn Fn(&[u8]) -> bool| {
            let mut out = Vec::new();
            headers.write_http1(&mut out, |name, _| keep(name));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(&headers, &|_| true),
            "Host: a\r\nX-One: 1\r\nx-two: 2\r\nx-three: 3\r\nX-Last: 4\r\nx-new: 5\r\n"
        );
        assert_eq!(
            written(&headers, &|name| name != b"X-One" && name != b"x-new"),
            "Host: a\r\nx-two: 2\r\nx-three: 3\r\nX-Last: 4\r\n"
        );
        headers.remove("x-one");
        headers.set("host", b"b");
        assert_eq!(
            written(&headers, &|_| true),
            "x-two: 2\r\nx-three: 3\r\nX-Last: 4\r\nx-new: 5\r\nhost: b\r\n"
        );
        assert_eq!(written(&Headers::default(), &|_| true), "");
    }

    #[test]
    fn set_replaces_append_adds_remove_removes_all() {
        let mut headers = list();
        assert!(headers.append("x-one", b"3"));
        assert_eq!(headers.get_all("x-one").count(), 3);
        assert!(headers.set("X-One", b"4"));
        assert_eq!(headers.get_all("x-one").collect::<Vec<_>>(), [b"4"]);
        assert!(headers.remove("x-ONE"));
        assert!(!headers.contains("x-one"));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_frame_s_names_are_case_sensitive_and_a_change_is_noticed() {
        let block = Bytes::from_static(b"serviceAService");
        let mut fields = FieldList::with_block(block, 2);
        fields.push_range((0, 7), (7, 1));
        fields.push_range((8, 7), (7, 1));
        let mut headers = Headers::Frame(Box::new(FrameHeaders::new(fields, Rc::new(7_u8))));
        assert_eq!(headers.get("service"), Some(&b"A"[..]));
        assert!(headers.contains("Service") && !headers.contains("SERVICE"));
        let changed = |headers: &Headers| matches!(headers, Headers::Frame(frame) if frame.is_changed());
        assert!(!headers.remove("SERVICE") && !changed(&headers));
        assert!(headers.set("service", b"B") && changed(&headers));
        let pairs: Vec<_> = headers.iter().collect();
        assert_eq!(pairs, [(&b"Service"[..], &b"A"[..]), (b"service", b"B")]);
    }

    #[test]
    fn a_field_that_would_break_the_message_is_refused() {
        let mut headers = list();
        assert!(!headers.set("x-one", b"a\r\nEvil: 1"));
        assert!(!headers.append("bad name", b"1"));
        assert_eq!(headers.len(), 3);
    }
}

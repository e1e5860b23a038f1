//! Functions on texts. Places count characters where the text is UTF-8, and bytes where it is not.

use crate::EvaluateError;

pub(crate) type Text = Vec<u8>;

/// A pattern with a `*` at its end or at its start, or the text itself.
pub(crate) fn wildcard(text: &[u8], pattern: &[u8]) -> bool {
    match pattern {
        [prefix @ .., b'*'] => text.starts_with(prefix),
        [b'*', suffix @ ..] => text.ends_with(suffix),
        _ => text == pattern,
    }
}

pub(crate) fn reverse(text: &[u8]) -> Text {
    match str::from_utf8(text) {
        Ok(text) => text.chars().rev().collect::<String>().into_bytes(),
        Err(_) => text.iter().rev().copied().collect(),
    }
}

pub(crate) fn lower(text: &[u8]) -> Text {
    match str::from_utf8(text) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => text.to_ascii_lowercase(),
    }
}

pub(crate) fn upper(text: &[u8]) -> Text {
    match str::from_utf8(text) {
        Ok(text) => text.to_uppercase().into_bytes(),
        Err(_) => text.to_ascii_uppercase(),
    }
}

pub(crate) fn trim(text: &[u8]) -> &[u8] {
    match str::from_utf8(text) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => text.trim_ascii(),
    }
}

pub(crate) fn size(text: &[u8]) -> i64 {
    let size = str::from_utf8(text).map_or(text.len(), |text| text.chars().count());
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// The byte at which the character of this number begins; the number of characters is a place, too.
fn place(text: &[u8], number: i64) -> Result<usize, EvaluateError> {
    let number = usize::try_from(number).map_err(|_| EvaluateError::OutOfRange)?;
    let at = match str::from_utf8(text) {
        Ok(text) => {
            let starts = text.char_indices().map(|(at, _)| at);
            starts.chain(std::iter::once(text.len())).nth(number)
        }
        Err(_) => Some(number).filter(|&number| number <= text.len()),
    };
    at.ok_or(EvaluateError::OutOfRange)
}

pub(crate) fn substring(text: &[u8], start: i64, end: Option<i64>) -> Result<&[u8], EvaluateError> {
    let start = place(text, start)?;
    let end = end.map_or(Ok(text.len()), |end| place(text, end))?;
    text.get(start..end).ok_or(EvaluateError::OutOfRange)
}

/// Behind the last character there is an empty text, as in CEL.
pub(crate) fn char_at(text: &[u8], number: i64) -> Result<&[u8], EvaluateError> {
    let start = place(text, number)?;
    Ok(&text[start..place(text, number.saturating_add(1)).unwrap_or(text.len())])
}

/// The place of the first occurrence not before `from`; -1 = there is none.
pub(crate) fn index_of(text: &[u8], part: &[u8], from: i64) -> Result<i64, EvaluateError> {
    let from = place(text, from)?;
    Ok(memchr::memmem::find(&text[from..], part).map_or(-1, |at| size(&text[..from + at])))
}

/// The place of the last occurrence not behind `to`; -1 = there is none.
pub(crate) fn last_index_of(text: &[u8], part: &[u8], to: Option<i64>) -> Result<i64, EvaluateError> {
    let end = match to {
        Some(to) => place(text, to)?.saturating_add(part.len()).min(text.len()),
        None => text.len(),
    };
    Ok(memchr::memmem::rfind(&text[..end], part).map_or(-1, |at| size(&text[..at])))
}

/// Replaces the first `limit` occurrences; a negative limit is none.
pub(crate) fn replace(text: &[u8], old: &[u8], new: &[u8], limit: i64) -> Text {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = 0;
    for at in occurrences(text, old).take(limit) {
        out.extend_from_slice(&text[rest..at]);
        out.extend_from_slice(new);
        rest = at + old.len();
    }
    out.extend_from_slice(&text[rest..]);
    out
}

/// At most `limit` pieces; a negative limit is none.
pub(crate) fn split(text: &[u8], between: &[u8], limit: i64) -> Vec<Text> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Vec::new();
    }
    let mut pieces = Vec::new();
    let mut rest = 0;
    let inner = occurrences(text, between).filter(|&at| !between.is_empty() || (at > 0 && at < text.len()));
    for at in inner.take(limit - 1) {
        pieces.push(text[rest..at].to_vec());
        rest = at + between.len();
    }
    pieces.push(text[rest..].to_vec());
    pieces
}

/// Where `part` occurs; an empty part occurs before and behind every character.
fn occurrences<'t>(text: &'t [u8], part: &'t [u8]) -> impl Iterator<Item = usize> + 't {
    let chars = str::from_utf8(text).ok();
    let boundary = move |at: usize| chars.is_none_or(|chars| chars.is_char_boundary(at));
    memchr::memmem::find_iter(text, part).filter(move |&at| !part.is_empty() || boundary(at))
}

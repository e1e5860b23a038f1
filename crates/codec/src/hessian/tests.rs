use bytes::BytesMut;

use super::*;
use crate::rpc::testing::hex;

fn skip_all(body: &[u8]) -> Result<usize, HessianError> {
    let mut reader = Reader::new(body);
    let mut values = 0;
    while !reader.is_at_end() {
        reader.skip(1)?;
        values += 1;
    }
    Ok(values)
}

fn text(body: &str) -> String {
    let body = hex(body);
    let mut reader = Reader::new(&body);
    let text = reader.string().unwrap().unwrap();
    assert!(reader.is_at_end());
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn every_value_is_one_step() {
    let values = [
        "4e",
        "54",
        "46", // null, true, false
        "80",
        "bf",
        "c8 00",
        "d4 00 00",
        "49 00000001", // int
        "d8",
        "ef",
        "f8 00",
        "3c 0000",
        "59 00000001",
        "4c 0000000000000001", // long
        "5b",
        "5c",
        "5d 01",
        "5e 0001",
        "5f 00000001",
        "44 0000000000000000", // double
        "4a 0000000000000000",
        "4b 00000000", // date
        "00",
        r#"03 "abc""#,
        r#"30 03 "abc""#,
        r#"53 0003 "abc""#,
        r#"52 0001 "a" 01 "b""#, // string
        "20",
        "22 0102",
        "34 02 0102",
        "42 0001 01",
        "41 0001 01 42 0001 02",
        "41 0001 01 21 02", // binary
        r#"55 01 "t" 90 5a"#,
        r#"56 01 "t" 91 90"#,
        "57 90 5a",
        "58 91 90", // list
        r#"71 01 "t" 90"#,
        "72 90 91 4e",
        "78",
        "7a 90 91",
        "48 5a",
        r#"48 01 "k" 90 5a"#,
        r#"4d 01 "t" 01 "k" 90 5a"#,
        "4d 90 5a", // map
        r#"43 01 "C" 92 01 "x" 01 "y" 60 90 91"#,
        "60 90 91",
        "4f 90 90 91", // object
        "51 90",       // reference
    ];
    let body: Vec<u8> = values.iter().flat_map(|value| hex(value)).collect();
    assert_eq!(skip_all(&body), Ok(values.len()));
}

#[test]
fn values_cut_anywhere_are_errors() {
    let body = hex(r#"43 01 "C" 91 01 "x" 60 48 01 "k" 72 01 "t" d4 0000 51 90 5a"#);
    assert_eq!(skip_all(&body), Ok(1));
    for cut in 1..body.len() {
        assert!(skip_all(&body[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn bytes_that_start_no_value_are_errors() {
    for tag in [0x40, 0x45, 0x47, 0x50, b'Z'] {
        assert_eq!(skip_all(&[tag]), Err(HessianError::UnknownTag { at: 0, tag }));
    }
    assert_eq!(skip_all(&hex("41 0001 01 90")), Err(HessianError::UnknownTag { at: 4, tag: 0x90 }));
    assert_eq!(skip_all(&hex(r#"52 0001 "a" 90"#)), Err(HessianError::NotAString { at: 4, tag: 0x90 }));
}

#[test]
fn objects_need_their_class() {
    assert_eq!(skip_all(&hex("62")), Err(HessianError::UnknownClass { at: 0, class: 2 }));
    assert_eq!(skip_all(&hex("4f 92")), Err(HessianError::UnknownClass { at: 0, class: 2 }));
}

#[test]
fn counts_are_bounded_by_the_body() {
    assert_eq!(skip_all(&hex("58 49 7fffffff 4e")), Err(HessianError::BadCount { at: 1 }));
    assert_eq!(skip_all(&hex("58 8f")), Err(HessianError::BadCount { at: 1 }));
    assert_eq!(skip_all(&hex(r#"43 01 "C" 49 7fffffff"#)), Err(HessianError::BadCount { at: 3 }));
}

#[test]
fn nesting_and_classes_are_limited_but_a_linked_list_is_not() {
    // Each list holds another list and then a null, so each stays open but the innermost.
    let nested = |depth: usize| [vec![0x7a; depth + 1], vec![b'N'; depth + 2]].concat();
    assert_eq!(skip_all(&nested(MAX_DEPTH)), Ok(1));
    assert!(matches!(skip_all(&nested(MAX_DEPTH + 1)), Err(HessianError::TooDeep { .. })));
    // Each list holds only the next one.
    let linked = [vec![0x79; 100_000], vec![b'N']].concat();
    assert_eq!(skip_all(&linked), Ok(1));

    let classes = |count: usize| [hex("43 00 90").repeat(count), hex("60")].concat();
    assert_eq!(skip_all(&classes(MAX_CLASSES)), Ok(1));
    assert!(matches!(skip_all(&classes(MAX_CLASSES + 1)), Err(HessianError::TooManyClasses { .. })));
}

#[test]
fn string_lengths_count_utf16_units() {
    assert_eq!(text(r#"02 "é" "a""#), "éa");
    assert_eq!(text(r#"03 "中" "文" "!""#), "中文!");
    // A character beyond the basic plane is two units, whether it is written as four bytes ...
    assert_eq!(text(r#"03 "😀" "a""#), "😀a");
    // ... or as two surrogates of three bytes each.
    assert_eq!(text(r#"04 "b" eda0bd edb880 "a""#), "b😀a");
    // Half a pair stays what it is.
    let half = hex(r#"02 eda0bd "a""#);
    assert_eq!(&*Reader::new(&half).string().unwrap().unwrap(), &half[1..]);
    let cut = hex("02 c3a9 c3");
    assert!(Reader::new(&cut).string().is_err());
}

#[test]
fn chunked_strings_are_joined_and_whole_ones_borrowed() {
    assert_eq!(text(r#"52 0002 "ab" 52 0001 "c" 01 "d""#), "abcd");
    let body = hex(r#"02 "ab""#);
    assert!(matches!(Reader::new(&body).string(), Ok(Some(Cow::Borrowed(b"ab")))));
}

#[test]
fn null_is_no_string_and_other_values_are_errors() {
    assert_eq!(Reader::new(b"N").string(), Ok(None));
    assert_eq!(Reader::new(b"T").string(), Err(HessianError::NotAString { at: 0, tag: b'T' }));
    assert_eq!(Reader::new(b"").string(), Err(HessianError::Truncated { at: 0 }));
}

#[test]
fn only_maps_are_entered() {
    for (body, entered) in [("48 5a", true), (r#"4d 01 "t" 5a"#, true), ("4e", false), ("79 4e", false)] {
        let body = hex(body);
        let mut reader = Reader::new(&body);
        assert_eq!(reader.enter_map(), Ok(entered));
        assert!(!entered || reader.leave_map() == Ok(true));
        assert!(reader.is_at_end());
    }
}

#[test]
fn written_strings_read_back_at_every_boundary() {
    for len in [0, 1, 31, 32, 1023, 1024, 32_768, 32_769, 70_000] {
        let text = "x".repeat(len);
        let mut out = BytesMut::new();
        write_string(text.as_bytes(), &mut out);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.string().unwrap().unwrap(), text.as_bytes(), "{len}");
        assert!(reader.is_at_end());
    }
}

#[test]
fn characters_beyond_the_basic_plane_are_written_as_java_does() {
    let mut out = BytesMut::new();
    write_string("a😀".as_bytes(), &mut out);
    assert_eq!(&out[..], &hex(r#"03 "a" eda0bd edb880"#)[..]);
    out.clear();
    write_string(b"\xff", &mut out);
    assert_eq!(&out[..], &hex(r#"01 "�""#)[..]);
}

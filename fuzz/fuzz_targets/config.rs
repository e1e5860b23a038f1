#![no_main]
//! Configuration texts: they load or are refused with reasons, in both notations.

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mosn_config::{Format, Options, parse};

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let format = if which & 1 == 0 { Format::Json } else { Format::Yaml };
    let options = Options { strict: which & 2 != 0 };
    if let Err(problems) = parse(text, format, Path::new("/nonexistent/conf/mosn.json"), options) {
        assert!(!problems.to_string().is_empty(), "refused without a reason");
    }
});

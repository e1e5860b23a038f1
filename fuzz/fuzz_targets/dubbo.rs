#![no_main]
//! One frame: decode it, read its headers, forward it, change it, answer it.

use libfuzzer_sys::fuzz_target;
use mosn_codec::rpc::DUBBO;

fuzz_target!(|bytes: &[u8]| mosn_fuzz::exercise(&DUBBO, bytes));

#![no_main]
//! A stream gives the same frames however it is cut. The first byte chooses the protocol, the next
//! four the sizes of the pieces.

use libfuzzer_sys::fuzz_target;
use mosn_codec::rpc::built_in;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[which, ref pieces @ ..], stream)) = bytes.split_first_chunk::<5>() else { return };
    let protocol = built_in()[usize::from(which) % built_in().len()];
    let whole = mosn_fuzz::frames(protocol, stream, &[]);
    let cut = mosn_fuzz::frames(protocol, stream, pieces);
    assert_eq!(whole, cut);
});

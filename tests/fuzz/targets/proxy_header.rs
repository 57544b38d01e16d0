//! A header of the PROXY protocol is read the same however its bytes come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde::http1::proxy_header::read;

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    if let Ok(Some((_, length))) = whole {
        assert!(length <= bytes.len());
        assert_eq!(read(&bytes[..length]), whole, "what is behind it makes no difference");
    }
    for cut in 0..bytes.len() {
        let part = read(&bytes[..cut]);
        assert!(part == Ok(None) || part == whole, "{cut}: {part:?} and {whole:?}");
    }
});

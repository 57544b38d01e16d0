//! Requests with random damage: whatever they become, a backend sees only valid messages, and one for each 200.

use crate::harness::{Backend, Proxy};

const VALID: &[&str] = &[
    "GET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nGET / HTTP/1.1\r\nHost: evil\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://b/ HTTP/1.0\r\nConnection: keep-alive, x\r\nX: \r\n\r\n",
];

/// Bytes that parsers may read differently.
const FRAGMENTS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"chunked",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n",
    b"Host: b\r\n",
    b"\xff",
    b"HTTP/1.0",
    b"0\r\n\r\n",
];

/// Pseudo-random numbers, the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below the limit")
    }

    /// Inserts, removes or overwrites in one to three places.
    fn damage(&mut self, message: &str) -> Vec<u8> {
        let mut bytes = message.as_bytes().to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            let end = (at + self.below(4)).min(bytes.len());
            let fragment = match self.below(3) {
                0 => &[][..],
                _ => FRAGMENTS[self.below(FRAGMENTS.len())],
            };
            bytes.splice(at..end, fragment.iter().copied());
        }
        bytes
    }
}

#[test]
fn random_damage_never_merges_or_splits_requests() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..2000 {
        let bytes = random.damage(VALID[round % VALID.len()]);
        let before = backend.count();
        let mut client = proxy.connect();
        let _refused_meanwhile = client.try_send(&bytes);
        client.finish();
        let (answers, _) = client.rest();
        let answered = answers.windows(15).filter(|window| window == b"HTTP/1.1 200 OK").count();
        let sent = bytes.escape_ascii();
        assert_eq!(backend.count() - before, answered, "requests and responses in round {round}: {sent}");
    }
}
